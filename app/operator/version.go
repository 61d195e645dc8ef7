package operator

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func init() { AddCommand(versionCommand) }

const modulePath = "github.com/tollgate-llm/tollgate"

// Version returns Tollgate's version from the build info: a tag such as v1.2.3, a pseudo-version, or
// (devel).
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == modulePath && m.Version != "" {
			return m.Version
		}
	}
	return "(devel)"
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Shows the version of Tollgate that is built in",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), Version())
			return err
		},
	}
}
