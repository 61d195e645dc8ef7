package app

import (
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
