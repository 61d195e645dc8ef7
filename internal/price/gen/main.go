// Command gen writes the embedded price data: that of the Python package genai-prices and, as a second source, what LiteLLM's price
// file has in addition, with its properties of models. It needs pip and python3; nothing else in the repository does.
//
// Everything works on the text of the numbers. Anything new in the data - a price key, a condition, a regular expression that Go cannot
// compile - stops the generation, so that nothing is left out silently.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"
)

func main() {
	log.SetFlags(0)
	source := flag.String("source", "", "package to read: genai-prices or litellm")
	version := flag.String("version", "", "its version; empty is the newest")
	dir := flag.String("dir", ".", "directory to write to")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, *source, *version, *dir); err != nil {
		log.Fatal(err) //nolint:gocritic // the process ends, and the context with it
	}
}

func run(ctx context.Context, source, version, dir string) error {
	generate, ok := map[string]func(context.Context, *wheel) (map[string][]byte, error){"genai-prices": genaiPrices, "litellm": liteLLM}[source]
	if !ok {
		return fmt.Errorf("-source %q is none of genai-prices, litellm", source)
	}
	tmp, err := os.MkdirTemp("", "prices")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // a temporary directory
	w, err := download(ctx, tmp, source, version)
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // read only
	license, err := w.find("*.dist-info/licenses/LICENSE")
	if err != nil {
		return err
	}
	files, err := generate(ctx, w)
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil { //nolint:gosec // a source file
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "LICENSE."+source), license, 0o644) //nolint:gosec // a source file
}
