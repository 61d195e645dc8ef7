// Package operator is the operator's side of billing: the admin API below /tollgate/billing and the commands
// `caddy tollgate billing`.
package operator
