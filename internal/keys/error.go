package keys

import (
	"errors"
	"net/http"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

var (
	// ErrUnknown means that there is no such key.
	ErrUnknown = errors.New("no such key")
	// ErrMalformed means that the record of a key or of its team cannot be read: a fault of that record alone.
	ErrMalformed = errors.New("unreadable record")

	errStoreContent = errors.New("the key store has lost a record")
	errStoreDown    = errors.New("the key store is down")
	errExists       = errors.New("the record exists")
)

// StoreDown is the answer while the key store cannot be asked: neither yes nor no, but later.
func StoreDown(err error) *llm.Error {
	return &llm.Error{
		Status: http.StatusServiceUnavailable, Type: "no_db_connection",
		Message: "the key store is not available: try again", RetryAfter: probeEvery, Err: err,
	}
}

// Invalid refuses a field of a request to the key API.
func Invalid(param, message string) *llm.Error {
	return &llm.Error{Status: http.StatusBadRequest, Type: "bad_request_error", Param: param, Message: param + ": " + message}
}

func notThere(param, message string) *llm.Error {
	return &llm.Error{Status: http.StatusNotFound, Type: "not_found_error", Param: param, Message: message}
}

func noKey() *llm.Error  { return notThere("key", "Key not found in the key store") }
func noTeam() *llm.Error { return notThere("team_id", "Team not found in the key store") }
