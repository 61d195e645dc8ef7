package llmroute

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// sessionHeaders are the request headers that name a conversation: Claude Code's, then Codex's and those of tools made after it,
// then LiteLLM's.
var sessionHeaders = []string{"X-Claude-Code-Session-Id", "Session-Id", "Session_id", "X-Litellm-Session-Id", "X-Litellm-Trace-Id"}

// deviceID is the metadata.user_id of older versions of Claude Code: a device's hash, an account's id, which may be empty, and a
// session's.
var deviceID = regexp.MustCompile(`^user_[0-9A-Za-z-]*_account_[0-9A-Za-z-]*_session_([0-9A-Za-z-]*)$`)

// device reports whether a metadata.user_id is one that Claude Code sends, which names a device and a session and no customer:
// a JSON object as text, or the older form. It returns the session, which may be empty.
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

// session returns the id of the request's conversation; empty without one that llm.CheckName accepts.
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
