// Package llmroute decides where a call goes: it resolves the model, edits the request and hands it to a backend's reverse proxy.
package llmroute
