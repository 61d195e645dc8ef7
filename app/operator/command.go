package operator

import (
	"bufio"
	"bytes"
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

// AddCommand adds a subcommand to `caddy tollgate`. Only init may call it.
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

// ErrNoInstance means that nothing listens on the admin API's address.
var ErrNoInstance = errors.New("no instance answers")

// Ask sends a request to the admin API of the running instance, at the address in --address. body may be
// nil; an io.Reader is sent as is, any other value as JSON. The caller closes the response body. An error
// response becomes an error with the instance's message.
func Ask(cmd *cobra.Command, method, uri string, header http.Header, body any) (io.ReadCloser, error) {
	address, err := cmd.Flags().GetString("address")
	if err != nil {
		return nil, err
	}
	var sent io.Reader
	switch v := body.(type) {
	case nil:
	case io.Reader:
		sent = v
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	res, err := caddycmd.AdminAPIRequest(address, method, uri, header, sent) //nolint:bodyclose // the caller closes it
	if err != nil && method == http.MethodGet && strings.HasSuffix(err.Error(), "EOF") {
		// A reload replaces the admin API. This can happen between connecting and sending the request.
		res, err = caddycmd.AdminAPIRequest(address, method, uri, header, sent) //nolint:bodyclose // as above
	}
	if err == nil {
		return res.Body, nil
	}
	err = adminError(address, err)
	if errors.Is(err, ErrNoInstance) && cmd.Flags().Lookup("spool") != nil {
		err = fmt.Errorf("%w; or read a spool offline with --spool", err)
	}
	return nil, err
}

// AskJSON sends a request to the running instance and decodes the response into v. With --json it prints
// the response unchanged.
func AskJSON(cmd *cobra.Command, method, uri string, body, v any) error {
	answer, err := Ask(cmd, method, uri, nil, body)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(answer)
	if err = errors.Join(err, answer.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading the instance's answer: %w", err)
	}
	if AsJSON(cmd) {
		_, err = cmd.OutOrStdout().Write(b)
	}
	return err
}

// AskWork starts a long-running operation, reports its progress on stderr and decodes its result into v.
// With --json it prints the result.
func AskWork(cmd *cobra.Command, method, uri string, body, v any) error {
	answer, err := Ask(cmd, method, uri, http.Header{"Accept": {LinesType}}, body)
	if err != nil {
		return err
	}
	defer answer.Close() //nolint:errcheck // read only
	lines := bufio.NewReader(answer)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return errors.New("the instance broke off before it had a result; its log has the reason")
		}
		var p progress
		if err := json.Unmarshal(line, &p); err != nil {
			return fmt.Errorf("reading the instance's answer: %w", err)
		}
		switch {
		case p.Error != "":
			return errors.New(Escape(p.Error))
		case p.Result != nil:
			if AsJSON(cmd) {
				if _, err := cmd.OutOrStdout().Write(append(p.Result, '\n')); err != nil {
					return err
				}
			}
			return json.Unmarshal(p.Result, v)
		case p.Of > 0:
			cmd.PrintErrf("%s: %d of %d\n", Escape(p.Progress), p.Done, p.Of)
		default:
			cmd.PrintErrf("%s: %d\n", Escape(p.Progress), p.Done)
		}
	}
}

// Show calls ask, which is AskJSON or AskWork, and prints the result with show. With --json it prints the
// result unchanged.
func Show[T any](cmd *cobra.Command, ask func(*cobra.Command, string, string, any, any) error, method, uri string, body any,
	show func(io.Writer, T) error,
) (answer T, err error) {
	if err = ask(cmd, method, uri, body, &answer); err == nil && !AsJSON(cmd) {
		err = show(cmd.OutOrStdout(), answer)
	}
	return answer, err
}

// Print prints the lines of a response with show, or unchanged if --json is set or show is nil. It closes
// the response.
func Print(cmd *cobra.Command, answer io.ReadCloser, show func(io.Writer, io.Reader) error) (err error) {
	if show == nil || AsJSON(cmd) {
		_, err = io.Copy(cmd.OutOrStdout(), answer)
	} else {
		err = show(cmd.OutOrStdout(), answer)
	}
	return errors.Join(err, answer.Close())
}

// EachLine decodes a response line by line. A response that ends in the middle of a line is an error.
func EachLine[T any](r io.Reader, fn func(T) error) error {
	dec := json.NewDecoder(r)
	for {
		var v T
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the instance's answer breaks off: %w", err)
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}

// adminError explains what to do about an error from Caddy's admin request, which is plain text.
func adminError(address string, err error) error {
	words := err.Error()
	_, answer, refused := strings.Cut(words, "caddy responded with error: ")
	if !refused {
		if strings.Contains(words, "connection refused") || strings.Contains(words, "no such file or directory") {
			return fmt.Errorf("%w at %s (%w); name its admin API with --address", ErrNoInstance, address, err)
		}
		return fmt.Errorf("asking the instance at %s: %w", address, err)
	}
	var e struct {
		Error string `json:"error"`
	}
	if at := strings.IndexByte(answer, '{'); at >= 0 && json.Unmarshal([]byte(answer[at:]), &e) == nil && e.Error != "" {
		return errors.New(Escape(e.Error))
	}
	if strings.HasPrefix(answer, "HTTP 404") {
		return fmt.Errorf("the Caddy at %s has no Tollgate", address)
	}
	return fmt.Errorf("the instance at %s: %s", address, Escape(answer))
}
