// Command gen writes the embedded price data from the npm package @pydantic/genai-prices. It needs npm and node; nothing
// else in the repository does.
//
// The package holds its data as a JavaScript literal, which node turns into JSON; everything after that works on the text
// of the numbers. Whatever is new in the data - a price key, a condition, a regular expression that Go cannot compile -
// stops the generation, so that nothing is left out unseen.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const module = "@pydantic/genai-prices"

func main() {
	log.SetFlags(0)
	version := flag.String("version", "", "version of "+module+" to read")
	dir := flag.String("dir", ".", "directory to write to")
	flag.Parse()
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(*version) {
		log.Fatal("-version must be a version such as 0.1.8")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, *version, *dir); err != nil {
		log.Fatal(err) //nolint:gocritic // the process ends, and the context with it
	}
}

func run(ctx context.Context, version, dir string) error {
	tmp, err := os.MkdirTemp("", "prices")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // a temporary directory
	files, err := fetch(ctx, tmp, version)
	if err != nil {
		return err
	}
	providers, err := extract(ctx, tmp, files["package/dist/index.js"])
	if err != nil {
		return err
	}
	data, err := normalise(version, providers)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "data.txt"), data, 0o644); err != nil { //nolint:gosec // a source file
		return err
	}
	return os.WriteFile(filepath.Join(dir, "LICENSE.genai-prices"), files["package/LICENSE"], 0o644) //nolint:gosec // a source file
}

// fetch returns the files that are needed from the package's tarball.
func fetch(ctx context.Context, tmp, version string) (map[string][]byte, error) {
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", module+"@"+version) //nolint:gosec // version is checked
	cmd.Dir = tmp
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("npm pack: %w", err)
	}
	tarballs, err := filepath.Glob(filepath.Join(tmp, "*.tgz"))
	if err != nil || len(tarballs) != 1 {
		return nil, fmt.Errorf("npm pack left %d tarballs (%w)", len(tarballs), err)
	}
	f, err := os.Open(tarballs[0])
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	gz, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"package/dist/index.js": nil, "package/LICENSE": nil}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, wanted := files[h.Name]; wanted {
			if files[h.Name], err = io.ReadAll(io.LimitReader(r, 64<<20)); err != nil {
				return nil, err
			}
		}
	}
	for name, data := range files {
		if len(data) == 0 {
			return nil, fmt.Errorf("%s has no %s", module, name)
		}
	}
	return files, nil
}

// literal finds the data: the array that the script opens with.
var literal = regexp.MustCompile(`(?s)^const \w+ = (\[\n.*?\n\])`)

// extract turns the literal in the script into providers.
func extract(ctx context.Context, tmp string, script []byte) ([]provider, error) {
	m := literal.FindSubmatch(script)
	if m == nil {
		return nil, errors.New("the package's script does not open with the data")
	}
	file := filepath.Join(tmp, "data.cjs")
	source := append([]byte("process.stdout.write(JSON.stringify("), m[1]...)
	if err := os.WriteFile(file, append(source, "))"...), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "node", file) //nolint:gosec // our own temporary file
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	var providers []provider
	return providers, dec.Decode(&providers)
}

// provider, model and priced mirror the package's types. Members that are not used are named so that a new one is an error.
type provider struct {
	ID         string          `json:"id"`
	APIPattern string          `json:"api_pattern"`
	Match      json.RawMessage `json:"provider_match"`
	ModelMatch json.RawMessage `json:"model_match"`
	Fallback   []string        `json:"fallback_model_providers"`
	Models     []model         `json:"models"`

	Name        any `json:"name"`
	URLs        any `json:"pricing_urls"`
	Extractors  any `json:"extractors"`
	Description any `json:"description"`
	Comments    any `json:"price_comments"`
}

type model struct {
	ID     string          `json:"id"`
	Match  json.RawMessage `json:"match"`
	Prices json.RawMessage `json:"prices"`

	Name        any `json:"name"`
	Description any `json:"description"`
	Context     any `json:"context_window"`
	Comments    any `json:"price_comments"`
	Deprecated  any `json:"deprecated"`
}

type priced struct {
	Constraint *constraint                `json:"constraint"`
	Prices     map[string]json.RawMessage `json:"prices"`
}

type constraint struct {
	Type      string `json:"type"`
	StartDate string `json:"start_date"`
	StartTime string `json:"start_time"`
	EndTime   string `json:"end_time"`
}

// strict decodes JSON, refusing members that are not known.
func strict(raw json.RawMessage, v any) error {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
