package setting

import (
	"os"
	"regexp"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var filePlaceholder = regexp.MustCompile(`\{file\.([^{}]+)\}`)

// Files returns the state of the files that a directive reads: those of its {file.*} placeholders, and paths, which may hold
// placeholders; "" is none. It is part of the adapted configuration, so that `caddy reload` sees a change where the Caddyfile has
// none. A file that cannot be seen from here is left out; nil when there are none. It moves the dispenser to its beginning.
func Files(d *caddyfile.Dispenser, paths ...string) map[string]string {
	for d.Reset(); d.Next(); {
		for _, m := range filePlaceholder.FindAllStringSubmatch(d.Val(), -1) {
			paths = append(paths, m[1])
		}
	}
	d.Reset()
	var files map[string]string
	replacer := caddy.NewReplacer()
	for _, path := range paths {
		if path == "" {
			continue
		}
		info, err := os.Stat(replacer.ReplaceKnown(path, ""))
		if err != nil {
			continue // its absence is an error at start, in words
		}
		if files == nil {
			files = make(map[string]string)
		}
		files[path] = strconv.FormatInt(info.ModTime().UnixNano(), 10) + " " + strconv.FormatInt(info.Size(), 10)
	}
	return files
}
