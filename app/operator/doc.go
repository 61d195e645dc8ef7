// Package operator contains what the admin API and the `caddy tollgate` commands of all directives share:
// routes, streamed responses with progress, requests to the running instance, flags and tables.
package operator
