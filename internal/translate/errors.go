package translate

// translateError returns an error of the upstream in the caller's API.
func translateError(p Pair, status int, body []byte) (int, []byte) { return status, body }
