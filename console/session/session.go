// Package session tracks who is signed in to the console, by a cookie, and how many sign-ins failed.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keys"
)

// Path is the path of the console and of its cookie.
const Path = "/console/"

const (
	cookieName = "tollgate_console"
	// idleTime is how long a session lasts without requests. lifeTime is its maximum duration.
	idleTime = 30 * time.Minute
	lifeTime = 8 * time.Hour
	// maxSessions is the maximum number of sessions in the process. The least recently used one is dropped
	// first.
	maxSessions = 10_000
	// liveHeader marks requests of pages that reload themselves. They do not extend a session.
	liveHeader = "Tollgate-Live"
)

// Session is one sign-in. It does not contain the key.
type Session struct {
	Key    keys.Digest
	Form   string // token of the session's forms
	Notice string // shown once, on the page after a change

	begun, used time.Time
}

// sessions are the sessions of the process by the hash of their cookie. They outlive reloads.
var sessions = struct {
	sync.Mutex
	byID map[[sha256.Size]byte]*Session
}{byID: make(map[[sha256.Size]byte]*Session)}

func (s *Session) over(now time.Time) bool {
	return now.Sub(s.used) >= idleTime || now.Sub(s.begun) >= lifeTime
}

// Begin starts a session for a key, in place of the request's session, and sends its cookie.
func Begin(w http.ResponseWriter, r *http.Request, key keys.Digest, now time.Time) {
	token := rand.Text() + rand.Text()
	sessions.Lock()
	defer sessions.Unlock()
	delete(sessions.byID, idOf(r))
	if len(sessions.byID) >= maxSessions {
		makeRoom(now)
	}
	sessions.byID[sha256.Sum256([]byte(token))] = &Session{Key: key, Form: rand.Text(), begun: now, used: now}
	setCookie(w, r, token)
}

// makeRoom drops all expired sessions or, if there are none, the least recently used session. The caller holds
// the lock.
func makeRoom(now time.Time) {
	var oldest [sha256.Size]byte
	var at time.Time
	for id, s := range sessions.byID {
		if s.over(now) {
			delete(sessions.byID, id)
		} else if at.IsZero() || s.used.Before(at) {
			oldest, at = id, s.used
		}
	}
	if len(sessions.byID) >= maxSessions {
		delete(sessions.byID, oldest)
	}
}

// Find returns a copy of a request's session with its pending notice, or false if there is no session.
func Find(r *http.Request, now time.Time) (Session, bool) {
	id := idOf(r)
	sessions.Lock()
	defer sessions.Unlock()
	s := sessions.byID[id]
	if s == nil {
		return Session{}, false
	}
	if s.over(now) {
		delete(sessions.byID, id)
		return Session{}, false
	}
	if r.Header.Get(liveHeader) == "" {
		s.used = now
	}
	found := *s
	if r.Method == http.MethodGet {
		s.Notice = ""
	}
	return found, true
}

// Notify stores a notice for the next page of a request's session.
func Notify(r *http.Request, notice string) {
	id := idOf(r)
	sessions.Lock()
	defer sessions.Unlock()
	if s := sessions.byID[id]; s != nil {
		s.Notice = notice
	}
}

// End ends the session of a request and removes its cookie.
func End(w http.ResponseWriter, r *http.Request) {
	id := idOf(r)
	sessions.Lock()
	defer sessions.Unlock()
	delete(sessions.byID, id)
	setCookie(w, r, "")
}

// idOf returns the hash of a request's cookie. Without a cookie it returns zeros, which match no session.
func idOf(r *http.Request) (id [sha256.Size]byte) {
	if c, err := r.Cookie(cookieName); err == nil {
		id = sha256.Sum256([]byte(c.Value))
	}
	return id
}

// setCookie sends the session cookie. An empty value removes it.
func setCookie(w http.ResponseWriter, r *http.Request, value string) {
	c := &http.Cookie{ //nolint:gosec // without TLS, on the machine itself, browsers would drop a secure cookie
		Name: cookieName, Value: value, Path: Path, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
