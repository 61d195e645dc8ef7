// Package operator is what the admin API and the command line `caddy tollgate` of all directives share: routes, streamed
// answers with progress, requests to the running instance, flags and tables.
package operator
