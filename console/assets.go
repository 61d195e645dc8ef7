package console

import (
	"crypto/sha256"
	_ "embed" // the page template and its assets
	"encoding/hex"
	"html/template"
	"net/http"

	"github.com/tollgate-llm/tollgate/app/operator"
)

//go:embed page/page.html
var pageText string

//go:embed page/style.css
var styleText string

//go:embed page/icon.svg
var iconText string

//go:embed page/live.js
var liveText string

// asset is a file that the pages load.
type asset struct{ mediaType, text string }

var assets = map[string]asset{
	"style.css": {"text/css; charset=utf-8", styleText},
	"icon.svg":  {"image/svg+xml", iconText},
	"live.js":   {"text/javascript; charset=utf-8", liveText},
}

// assetVersion changes when any asset does, so that browsers may cache them all.
var assetVersion = func() string {
	sum := sha256.Sum256([]byte(styleText + iconText + liveText))
	return hex.EncodeToString(sum[:6])
}()

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"plain": operator.Escape, "version": func() string { return assetVersion },
	"cell": func(c cell, token string) shown { return shown{c, c.Form, token} },
	"form": func(f form, token string) shown { return shown{Form: &f, Token: token} },
}).Parse(pageText))

// shown is a cell or a form, with the session's form token.
type shown struct {
	Cell  cell
	Form  *form
	Token string
}

// serveAsset serves the asset at that path below the console. It returns false if there is none.
func serveAsset(w http.ResponseWriter, r *http.Request, path string) bool {
	a, ok := assets[path]
	if !ok {
		return false
	}
	w.Header().Set("Content-Type", a.mediaType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(a.text)) // the client has gone away
	}
	return true
}
