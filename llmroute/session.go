package llmroute

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// sessionHeaders are the request headers with a conversation's id: Claude Code's, those of Codex and of tools
// modelled on it, and LiteLLM's.
var sessionHeaders = []string{"X-Claude-Code-Session-Id", "Session-Id", "Session_id", "X-Litellm-Session-Id", "X-Litellm-Trace-Id"}

// deviceID matches the metadata.user_id of older versions of Claude Code: the hash of a device, the id of an
// account, which may be empty, and the id of a session.
var deviceID = regexp.MustCompile(`^user_[0-9A-Za-z-]*_account_[0-9A-Za-z-]*_session_([0-9A-Za-z-]*)$`)

// device reports whether a metadata.user_id comes from Claude Code, which identifies a device and a session but
// no customer. It is a JSON object as text, or has the older form. device also returns the session, which may be
// empty.
func device(userID string) (session string, ok bool) {
	if m := deviceID.FindStringSubmatch(userID); m != nil {
		return m[1], true
	}
	text := strings.TrimSpace(userID)
	if !strings.HasPrefix(text, "{") || !gjson.Valid(text) {
		return "", false
	}
	return gjson.Get(text, "session_id").String(), true
}

// session returns the id of the request's conversation. It is empty if there is none that llm.CheckName accepts.
func session(r *http.Request, b *body.Body) string {
	for _, name := range sessionHeaders {
		if v := r.Header[name]; len(v) > 0 && v[0] != "" && llm.CheckName(v[0]) == nil {
			return v[0]
		}
	}
	if b.Session != "" && llm.CheckName(b.Session) == nil {
		return b.Session
	}
	if s, ok := device(b.MetadataUser); ok && llm.CheckName(s) == nil {
		return s
	}
	return ""
}
