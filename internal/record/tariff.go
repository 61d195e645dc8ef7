package record

// Tariff is what decides how a call is billed, as it was in force when the call was opened. It makes an estimate the same
// whoever settles the record.
type Tariff struct {
	Prices      string `json:"prices,omitempty"`       // version of the price data
	Factor      string `json:"factor,omitempty"`       // what markup and discount make of a cost, as an exact fraction; absent: 1/1
	Events      string `json:"events"`                 // the shape of the events
	TokenCounts string `json:"token_counts,omitempty"` // how events per token type count
	Code        string `json:"code,omitempty"`         // of the billable metric
	Estimate    []Line `json:"estimate,omitempty"`     // what the input that the request holds costs
	Note        string `json:"note,omitempty"`         // which price stood in for a missing one, and the like
	Unpriced    string `json:"unpriced,omitempty"`     // why the estimate has no cost
}

// Line is the part of a cost that one kind makes. Count and amounts are plain decimal strings.
type Line struct {
	Kind  string `json:"kind"`
	Count string `json:"count"`
	Price string `json:"price,omitempty"` // USD; empty when the provider reported a sum
	Per   string `json:"per,omitempty"`   // what the price is a price of: million, one, hour, minute, second
	Base  string `json:"base"`            // USD, before markup and discount
	Cost  string `json:"cost,omitempty"`  // USD as billed, where it is not the base; settled records
	Model string `json:"model,omitempty"` // another model than the answer's own; settled records
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
