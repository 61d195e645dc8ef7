package record

// Attempt is an attempt that failed. Times are in milliseconds since the call began.
type Attempt struct {
	Model    string `json:"model"`
	Upstream string `json:"upstream"` // the model name sent upstream
	Backend  string `json:"backend"`
	Provider string `json:"provider"`
	Began    int64  `json:"began_ms,omitempty"`
	Ended    int64  `json:"ended_ms,omitempty"`
	Why      string `json:"why"`              // status, timeout, refused, connection
	Status   int    `json:"status,omitempty"` // of an answer that the client did not get
}

func (r *Record) appendTried(o Object) Object {
	if len(r.Tried) == 0 {
		return o
	}
	o = append(o.Key("tried"), '[')
	for i := range r.Tried {
		if i > 0 {
			o = append(o, ',')
		}
		a := &r.Tried[i]
		one := OpenObject(o).Str("model", a.Model).Str("upstream", a.Upstream).Str("backend", a.Backend).Str("provider", a.Provider)
		o = one.optNum("began_ms", a.Began).optNum("ended_ms", a.Ended).Str("why", a.Why).optNum("status", int64(a.Status)).Close()
	}
	return append(o, ']')
}
