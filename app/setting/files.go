package setting

import (
	"os"
	"regexp"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var filePlaceholder = regexp.MustCompile(`\{file\.([^{}]+)\}`)

// Files returns the state of the files that a directive reads: those in its {file.*} placeholders, and
// paths, which may contain placeholders or be empty. It becomes part of the adapted configuration, so
// that `caddy reload` notices a changed file even if the Caddyfile is the same. Files that cannot be read
// here are left out. The result is nil if there are none. Files resets the dispenser to its beginning.
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
			continue // a missing file is reported at start
		}
		if files == nil {
			files = make(map[string]string)
		}
		files[path] = strconv.FormatInt(info.ModTime().UnixNano(), 10) + " " + strconv.FormatInt(info.Size(), 10)
	}
	return files
}
