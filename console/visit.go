package console

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/console/session"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
)

// role determines what a signed-in user may see and change.
type role uint8

const (
	own     role = iota // sees what belongs to the key itself
	reads               // sees everything
	manages             // sees and changes everything
)

// pageDef is one page. show returns the page's content.
type pageDef struct {
	name, title string
	role        role // lowest role that sees it
	only        bool // hidden from higher roles
	show        func(v *visit) (*content, error)
}

// pages are the console's pages in navigation order. A visit starts on the first page that its role may see.
var pages []pageDef

func init() {
	pages = []pageDef{
		{name: "now", title: "Now", role: reads, show: showNow},
		{name: "calls", title: "Calls", role: own, show: showCalls},
		{name: "spend", title: "Spend", role: own, show: showSpend},
		{name: "decide", title: "To decide", role: reads, show: showDecide},
		{name: "keys", title: "Keys", role: reads, show: showKeys},
		{name: "teams", title: "Teams", role: reads, show: showTeams},
		{name: "models", title: "Models", role: reads, show: showModels},
		{name: "audit", title: "Audit", role: reads, show: showAudit},
		{name: "key", title: "Your key", role: own, only: true, show: showOwnKey},
	}
}

// visit is one request to the console.
type visit struct {
	h         *Handler
	w         http.ResponseWriter
	r         *http.Request
	name, arg string // the path below the console: name/arg
	site      *site
	session   *session.Session
	who       *llm.Identity
	role      role
	team      string // if the key is an admin of a team, that team, whose calls and spend it also sees; otherwise empty
}

// maxForm is the maximum size of a form's body in bytes.
const maxForm = 64 << 10

func refuse(status int, message string) error { return operator.Refuse(status, "%s", message) }

// serve responds to the request or returns an error.
func (v *visit) serve(next caddyhttp.Handler) error {
	switch v.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		v.w.Header().Set("Allow", "GET, HEAD, POST")
		return refuse(http.StatusMethodNotAllowed, "The console takes GET and POST.")
	}
	addressed := []string{v.arg}
	for _, values := range v.r.URL.Query() {
		addressed = append(addressed, values...)
	}
	if slices.ContainsFunc(addressed, func(s string) bool { return strings.HasPrefix(s, keys.Prefix) }) {
		return refuse(http.StatusBadRequest, "A key in an address is not accepted, as addresses are logged: revoke this key if it is in use.")
	}
	if v.site = inquire(v.r, next); v.site.keys == nil {
		return refuse(http.StatusNotFound, "This site has no keyauth, so nobody can sign in.")
	}
	if v.r.Method == http.MethodPost {
		if err := v.h.origin.Check(v.r); err != nil {
			return refuse(http.StatusForbidden, "This form was sent from another site.")
		}
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		if err := v.r.ParseForm(); err != nil {
			return refuse(http.StatusBadRequest, "The form cannot be read.")
		}
		if v.r.PostForm.Get("do") == "sign-in" {
			return v.signIn()
		}
	}
	if refusal := v.identify(); refusal != nil {
		return refusal
	}
	switch {
	case v.session == nil && v.r.Method == http.MethodPost:
		return v.askSignIn(http.StatusUnauthorized, "Your session has ended. Nothing was changed. Sign in again.")
	case v.session == nil:
		return v.askSignIn(http.StatusOK, "")
	case v.r.Method == http.MethodPost:
		token := v.r.PostForm.Get("form")
		if subtle.ConstantTimeCompare([]byte(token), []byte(v.session.Form)) != 1 {
			return refuse(http.StatusForbidden, "This form does not belong to your session. Nothing was changed. Reload the page.")
		}
		return v.change()
	}
	return v.show()
}

// identify finds the request's session and checks its key again. If the key may no longer be used, the session
// ends.
func (v *visit) identify() error {
	s, ok := session.Find(v.r, time.Now())
	if !ok {
		return nil
	}
	state, refusal := v.site.keys.Identify(v.r.Context(), s.Key)
	if refusal != nil {
		if refusal.Status < http.StatusInternalServerError {
			session.End(v.w, v.r)
			return nil
		}
		return refusal
	}
	service, release, err := v.site.keys.Service(v.r.Context())
	if err != nil {
		return err
	}
	defer release()
	reach, err := service.Reach(v.r.Context(), state, "")
	if err != nil {
		return err
	}
	v.session, v.who, v.team = &s, state.Identity, reach.Team
	switch {
	case !reach.All:
		v.role = own
	case state.Type == keys.TypeReadOnly:
		v.role = reads
	default:
		v.role = manages
	}
	return nil
}

// ownRecord reports whether a record belongs to the session's key, or to the team of which the key is an admin.
func (v *visit) ownRecord(r *record.Record) bool {
	if v.team != "" {
		return r.Team == v.team
	}
	return r.KeyID == v.who.SpendID
}

func (v *visit) may(p *pageDef) bool { return p.role == v.role || p.role < v.role && !p.only }

// show responds with a page.
func (v *visit) show() error {
	for i := range pages {
		p := &pages[i]
		if !v.may(p) || v.name != "" && v.name != p.name {
			continue
		}
		v.name = p.name
		c, err := p.show(v)
		if errors.Is(err, errSent) {
			return nil
		}
		if err != nil {
			return err
		}
		if c.Title == "" {
			c.Title = p.title
		}
		return v.write(http.StatusOK, c)
	}
	return noPage()
}

func noPage() error { return refuse(http.StatusNotFound, "There is no such page.") }

// write sends a page with the parts common to all pages.
func (v *visit) write(status int, c *content) error {
	if v.session != nil {
		c.Token = v.session.Form
		if c.Notice == "" {
			c.Notice = v.session.Notice
		}
		c.Who = v.who.KeyAlias
		if c.Who == "" {
			c.Who = v.who.KeyName
		}
		for i := range pages {
			if p := &pages[i]; v.may(p) {
				c.Nav = append(c.Nav, navItem{root + p.name, p.title, p.name == v.name})
			}
		}
	}
	var b bytes.Buffer
	if err := page.Execute(&b, c); err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		_, _ = v.w.Write(b.Bytes()) // the client has gone away
	}
	return nil
}

// fail responds with an error.
func (v *visit) fail(err error) {
	status, message := http.StatusInternalServerError, "The console failed. See the gateway's log."
	if refusal, ok := errors.AsType[*llm.Error](err); ok {
		status, message = refusal.Status, refusal.Message
	} else if refusal, ok := errors.AsType[caddy.APIError](err); ok {
		status, message = refusal.HTTPStatus, refusal.Err.Error()
	}
	if status >= http.StatusInternalServerError {
		v.h.logger.Error("console", zap.String("page", v.name), zap.Error(err))
	}
	if err := v.write(status, &content{Title: http.StatusText(status), Sections: []section{{Text: message}}}); err != nil {
		v.h.logger.Error("console", zap.Error(err))
	}
}
