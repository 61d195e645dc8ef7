package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// Admin asks the running instance's admin API, at the address of the flag --address. The caller closes the answer.
func Admin(cmd *cobra.Command, method, uri string, body io.Reader) (io.ReadCloser, error) {
	address, err := cmd.Flags().GetString("address")
	if err != nil {
		return nil, err
	}
	res, err := caddycmd.AdminAPIRequest(address, method, uri, nil, body) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, fmt.Errorf("the instance at %s: %w", address, adminError(err))
	}
	return res.Body, nil
}

// adminError takes what the admin API says out of the JSON in which it says so.
func adminError(err error) error {
	text := err.Error()
	at := strings.IndexByte(text, '{')
	if at < 0 {
		return err
	}
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(text[at:]), &said) != nil || said.Error == "" {
		return err
	}
	return errors.New(said.Error)
}
