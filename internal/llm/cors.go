package llm

import "net/http"

// IsPreflight reports whether the request is a CORS preflight, which browsers send without a key.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// AllowOrigin lets any web page read the answer to a call it made, refusals included. That is safe because a call needs the
// key in a header.
func AllowOrigin(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Expose-Headers", "*")
	}
}
