package operator

import (
	"net/url"

	"github.com/spf13/cobra"
)

// JSONFlag defines --json.
func JSONFlag(cmd *cobra.Command, usage string) { cmd.Flags().Bool("json", false, usage) }

// AsJSON reports whether --json is set.
func AsJSON(cmd *cobra.Command) bool { return IsSet(cmd, "json") }

// IsSet reports whether a boolean flag is set. A flag that the command does not define is not set.
func IsSet(cmd *cobra.Command, name string) bool {
	on, err := cmd.Flags().GetBool(name)
	return err == nil && on
}

// Text returns the value of a flag. It is empty if the flag is not set or not defined.
func Text(cmd *cobra.Command, name string) string {
	v, err := cmd.Flags().GetString(name)
	if err != nil {
		return ""
	}
	return v
}

// Parameters returns the flags that are set as query parameters for the admin API.
func Parameters(cmd *cobra.Command, flags ...string) url.Values {
	v := url.Values{}
	for _, name := range flags {
		if value := Text(cmd, name); value != "" {
			v.Set(name, value)
		}
	}
	return v
}
