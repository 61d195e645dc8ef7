// Package operator is the operator's side of the key stores: their admin API and the commands `caddy tollgate keys`.
package operator
