package record

// Tariff determines how a call is billed, as in force when the call was opened. With it, an estimate is the same whoever
// settles the record.
type Tariff struct {
	Prices      string `json:"prices,omitempty"`       // version of the price data
	Factor      string `json:"factor,omitempty"`       // what markup and discount make of a cost, as an exact fraction; absent: 1/1
	Events      string `json:"events"`                 // the shape of the events
	TokenCounts string `json:"token_counts,omitempty"` // how events per token type count
	Code        string `json:"code,omitempty"`         // of the billable metric
	Estimate    []Line `json:"estimate,omitempty"`     // the cost of the request's estimated input
	Note        string `json:"note,omitempty"`         // such as which price replaced a missing one
	Unpriced    string `json:"unpriced,omitempty"`     // why the estimate has no cost
}

// Line is the cost of one kind. Count and amounts are plain decimal strings.
type Line struct {
	Kind  string `json:"kind"`
	Count string `json:"count"`
	Price string `json:"price,omitempty"` // USD; empty if the provider reported a sum
	Per   string `json:"per,omitempty"`   // the unit of the price: million, one, hour, minute, second
	Base  string `json:"base"`            // USD, before markup and discount
	Cost  string `json:"cost,omitempty"`  // USD as billed, if not the base; settled records only
	Model string `json:"model,omitempty"` // a model other than the answer's; settled records only
}

func (t *Tariff) append(o Object) Object {
	if t == nil {
		return o
	}
	p := OpenObject(o.Key("tariff"))
	p = p.Opt("prices", t.Prices)
	p = p.Opt("factor", t.Factor)
	p = p.Str("events", t.Events)
	p = p.Opt("token_counts", t.TokenCounts)
	p = p.Opt("code", t.Code)
	p = p.lines("estimate", t.Estimate)
	p = p.Opt("note", t.Note)
	p = p.Opt("unpriced", t.Unpriced)
	return p.Close()
}

// lines appends an array of lines, unless it is empty.
func (o Object) lines(name string, list []Line) Object {
	if len(list) == 0 {
		return o
	}
	o = append(o.Key(name), '[')
	for i := range list {
		if i > 0 {
			o = append(o, ',')
		}
		l := &list[i]
		line := OpenObject(o)
		line = line.Str("kind", l.Kind)
		line = line.Str("count", l.Count)
		line = line.Opt("price", l.Price)
		line = line.Opt("per", l.Per)
		line = line.Str("base", l.Base)
		line = line.Opt("cost", l.Cost)
		line = line.Opt("model", l.Model)
		o = line.Close()
	}
	return append(o, ']')
}
