package keyauth

import (
	"net/http"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Refusals have LiteLLM's types, parameters and words, with its status codes of 2026. None holds a key or its hash; an
// unknown key is named by its last four characters, to the one who sent it.

// noParam is what LiteLLM writes as the parameter of an auth_error: a string, not null.
const noParam = "None"

func authError(message string) *llm.Error {
	return &llm.Error{
		Status: http.StatusUnauthorized, Type: "auth_error", Param: noParam,
		Message: "Authentication Error, " + message,
	}
}

func unknownKey(key string) *llm.Error {
	return &llm.Error{
		Status: http.StatusUnauthorized, Type: "token_not_found_in_db", Param: "key",
		Message: "Authentication Error, Invalid proxy server token passed. Received API Key = " + keys.Abbreviate(key) +
			". Unable to find token in cache or in the key store",
	}
}

func expiredKey(key string, expiry, now time.Time) *llm.Error {
	return &llm.Error{
		Status: http.StatusUnauthorized, Type: "expired_key", Param: keys.Abbreviate(key),
		Message: "Authentication Error - Expired Key. Key Expiry time " + expiry.UTC().Format(time.RFC3339) +
			" and current time " + now.UTC().Format(time.RFC3339),
	}
}

func modelDenied(kind, member, model string) *llm.Error {
	return &llm.Error{
		Status: http.StatusForbidden, Type: kind + "_model_access_denied", Param: member,
		Message: "The requested model '" + model + "' is not available for this API key, or the model name is invalid. " +
			"GET /v1/models lists the models that it may use.",
	}
}

// routeDenied is the answer to a key that may not be used for a path of model calls or a report; nil where it may.
func routeDenied(state *keys.State, path string, report bool) *llm.Error {
	message := "Authentication Error, This API key may not be used for " + path + ": its allowed_routes do not have it"
	switch {
	case report && state.Reports(path), !report && state.Calls(path):
		return nil
	case !report && (state.Type == keys.TypeManagement || state.Type == keys.TypeReadOnly):
		message = "Authentication Error, A key of the type " + state.Type + " calls no models"
	}
	return &llm.Error{Status: http.StatusForbidden, Type: "auth_error", Param: noParam, Message: message}
}

// choiceDenied is the answer to a key with a list of models whose request lets the provider choose another one.
func choiceDenied(member string) *llm.Error {
	return &llm.Error{
		Status: http.StatusForbidden, Type: "key_model_access_denied", Param: member,
		Message: member + " lets the provider choose another model, and this API key may use only the models of its list. " +
			"Leave it out, or name the models.",
	}
}
