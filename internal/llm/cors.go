package llm

import "net/http"

// IsPreflight reports whether a browser asks what it may send, before a call. The question comes without a key.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// AllowOrigin lets a page in a browser read the answer to a call it made, refusals included. Any page may, as none can make a
// call without the key in a header.
func AllowOrigin(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Expose-Headers", "*")
	}
}
