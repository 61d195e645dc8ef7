// Package lago speaks Lago's HTTP API.
package lago
