package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

var commands []func() *cobra.Command

// AddCommand adds a command below `caddy tollgate`. To be called in init only.
func AddCommand(c func() *cobra.Command) { commands = append(commands, c) }

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "tollgate",
		Usage: "<command>",
		Short: "Manages Tollgate's keys and billing",
		Long:  "Talks to the running instance's admin API, at the address given by --address.",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.PersistentFlags().String("address", "localhost:2019", "Address of the running instance's admin API")
			for _, c := range commands {
				cmd.AddCommand(c())
			}
		},
	})
}

// ErrNoInstance means that nothing listens at the address of the admin API.
var ErrNoInstance = errors.New("no instance answers")

// Admin asks the running instance's admin API, at the address of the flag --address. A body is JSON, header may be nil. The
// caller closes the answer. What the instance refuses is an error in its own words.
func Admin(cmd *cobra.Command, method, uri string, header http.Header, body io.Reader) (io.ReadCloser, error) {
	address, err := cmd.Flags().GetString("address")
	if err != nil {
		return nil, err
	}
	res, err := caddycmd.AdminAPIRequest(address, method, uri, header, body) //nolint:bodyclose // the caller closes it
	if err != nil && method == http.MethodGet && strings.HasSuffix(err.Error(), "EOF") {
		// A reload replaces the admin API, and may do so between the connection and its request.
		res, err = caddycmd.AdminAPIRequest(address, method, uri, header, body) //nolint:bodyclose // as above
	}
	if err != nil {
		return nil, adminError(address, err)
	}
	return res.Body, nil
}

// adminError makes what came of a request to the admin API words that say what to do. Caddy's error is a text alone.
func adminError(address string, err error) error {
	words := err.Error()
	_, said, refused := strings.Cut(words, "caddy responded with error: ")
	if !refused {
		if strings.Contains(words, "connection refused") || strings.Contains(words, "no such file or directory") {
			return fmt.Errorf("%w at %s (%w); name its admin API with --address", ErrNoInstance, address, err)
		}
		return fmt.Errorf("asking the instance at %s: %w", address, err)
	}
	var e struct {
		Error string `json:"error"`
	}
	if at := strings.IndexByte(said, '{'); at >= 0 && json.Unmarshal([]byte(said[at:]), &e) == nil && e.Error != "" {
		return errors.New(e.Error)
	}
	if strings.HasPrefix(said, "HTTP 404") {
		return fmt.Errorf("the Caddy at %s has no Tollgate", address)
	}
	return fmt.Errorf("the instance at %s: %s", address, said)
}
