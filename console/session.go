package console

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keys"
)

const (
	cookieName = "tollgate_console"
	// idleTime is how long a session lasts without a request, lifeTime how long in any case.
	idleTime = 30 * time.Minute
	lifeTime = 8 * time.Hour
	// maxSessions is the most sessions of the process. The least recently used one is dropped first.
	maxSessions = 10_000
	// liveHeader marks the requests with which a page reloads itself. They do not extend a session.
	liveHeader = "Tollgate-Live"
)

// session is one sign-in. The key itself is not kept.
type session struct {
	key    keys.Digest
	form   string // token of the session's forms
	begun  time.Time
	used   time.Time
	notice string // shown once, on the page after a change
}

// sessionStore holds the sessions of the process by the hash of their cookies. It outlives reloads.
type sessionStore struct {
	mu   sync.Mutex
	byID map[[sha256.Size]byte]*session
}

var sessions = &sessionStore{byID: make(map[[sha256.Size]byte]*session)}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.used) >= idleTime || now.Sub(s.begun) >= lifeTime
}

// begin makes a session for a key and returns the value of its cookie.
func (st *sessionStore) begin(key keys.Digest, now time.Time) string {
	token := rand.Text() + rand.Text()
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.byID) >= maxSessions {
		st.makeRoom(now)
	}
	st.byID[sha256.Sum256([]byte(token))] = &session{key: key, form: rand.Text(), begun: now, used: now}
	return token
}

// makeRoom drops the expired sessions or, if there are none, the least recently used one. The caller holds the lock.
func (st *sessionStore) makeRoom(now time.Time) {
	var oldest [sha256.Size]byte
	var at time.Time
	for id, s := range st.byID {
		if s.over(now) {
			delete(st.byID, id)
		} else if at.IsZero() || s.used.Before(at) {
			oldest, at = id, s.used
		}
	}
	if len(st.byID) >= maxSessions {
		delete(st.byID, oldest)
	}
}

// find returns a copy of a request's session with its pending notice. It returns false if there is none.
func (st *sessionStore) find(r *http.Request, now time.Time) (session, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	id := sha256.Sum256([]byte(c.Value))
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.byID[id]
	if s == nil {
		return session{}, false
	}
	if s.over(now) {
		delete(st.byID, id)
		return session{}, false
	}
	if r.Header.Get(liveHeader) == "" {
		s.used = now
	}
	found := *s
	if r.Method == http.MethodGet {
		s.notice = ""
	}
	return found, true
}

// tell stores a notice for the next page of a request's session.
func (st *sessionStore) tell(r *http.Request, notice string) {
	if c, err := r.Cookie(cookieName); err == nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		if s := st.byID[sha256.Sum256([]byte(c.Value))]; s != nil {
			s.notice = notice
		}
	}
}

// end ends the session of a request.
func (st *sessionStore) end(r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		delete(st.byID, sha256.Sum256([]byte(c.Value)))
	}
}

// setCookie sends the cookie of a session; an empty value removes it.
func setCookie(w http.ResponseWriter, r *http.Request, value string) {
	c := &http.Cookie{ //nolint:gosec // without TLS, on the machine itself, browsers would drop a secure cookie
		Name: cookieName, Value: value, Path: root, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
