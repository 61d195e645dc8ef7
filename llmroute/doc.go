// Package llmroute routes calls: it resolves the model, edits the request and sends it to a backend.
package llmroute
