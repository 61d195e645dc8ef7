package console

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/console/session"
	"github.com/tollgate-llm/tollgate/internal/keys"
)

// askSignIn responds with the sign-in form.
func (v *visit) askSignIn(status int, notice string) error {
	f := form{
		Action: root, Do: "sign-in", Button: "Sign in",
		Fields: []field{{
			Name: "key", Label: "Key", Type: "password", Required: true,
			Hint: "The master key, a management or read_only key, or the key that you call models with",
		}},
	}
	return v.write(status, &content{Title: "Sign in", Notice: notice, Sections: []section{{Forms: []form{f}}}})
}

// signIn starts a session for the key in the form.
func (v *visit) signIn() error {
	now := time.Now()
	if wait := v.h.failures.Wait(v.r, now); wait > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		return v.askSignIn(http.StatusTooManyRequests, "Too many wrong keys. Try again in a minute.")
	}
	key := strings.TrimSpace(v.r.PostForm.Get("key"))
	if key == "" || len(key) > keys.MaxBytes {
		return v.askSignIn(http.StatusUnauthorized, "Write the key.")
	}
	sum := keys.DigestOf(key)
	state, refusal := v.site.keys.Identify(v.r.Context(), sum)
	switch {
	case refusal != nil && refusal.Status >= http.StatusInternalServerError:
		return refusal
	case refusal != nil:
		v.h.failures.Add(v.r, now)
		v.h.logger.Warn("console: a sign-in was refused", zap.String("type", refusal.Type))
		return v.askSignIn(http.StatusUnauthorized, "This key is unknown, blocked or expired.")
	}
	session.Begin(v.w, v.r, sum, now)
	who := state.Identity
	v.h.logger.Info("console: signed in", zap.String("key", who.KeyName), zap.String("alias", who.KeyAlias))
	http.Redirect(v.w, v.r, root, http.StatusSeeOther)
	return nil
}

func (v *visit) signOut() error {
	session.End(v.w, v.r)
	http.Redirect(v.w, v.r, root, http.StatusSeeOther)
	return nil
}
