package console

import (
	"math/big"

	"github.com/tollgate-llm/tollgate/internal/price"
)

const (
	chartWidth, chartHeight = 900, 180
	// maxBars is how many bars a chart has room for.
	maxBars = 400
)

// chart is a bar chart. The table beside it has the same values.
type chart struct {
	Title         string
	Width, Height int
	Top           string // what the highest bar is
	First, Last   string // labels at the ends
	Bars          []bar
}

// bar is one bar with its place, and its label and value on hover.
type bar struct {
	Label, Value        string
	X, Y, Width, Height int

	amount price.Amount
}

// chartOf lays bars out; nil where there is nothing to see.
func chartOf(title string, bars []bar) *chart {
	var top price.Amount
	for i := range bars {
		if bars[i].amount.Cmp(top) > 0 {
			top = bars[i].amount
		}
	}
	if top.IsZero() || len(bars) > maxBars {
		return nil
	}
	c := &chart{
		Title: title, Width: chartWidth, Height: chartHeight, Top: "$" + top.String(), First: bars[0].Label, Last: bars[len(bars)-1].Label, Bars: bars,
	}
	highest := units(top)
	room := chartWidth / len(bars)
	for i := range bars {
		b := &bars[i]
		b.Value = "$" + b.amount.String()
		h := units(b.amount)
		b.Height = int(h.Mul(h, big.NewInt(chartHeight)).Div(h, highest).Int64())
		if !b.amount.IsZero() {
			b.Height = max(1, b.Height)
		}
		b.Width = max(1, min(60, room-max(1, room/5)))
		b.X, b.Y = i*chartWidth/len(bars), chartHeight-b.Height
	}
	return c
}

// units returns an amount in its smallest unit.
func units(a price.Amount) *big.Int {
	r, ok := new(big.Rat).SetString(a.String())
	if !ok {
		return new(big.Int)
	}
	r.Mul(r, new(big.Rat).SetInt64(1e15))
	return r.Num()
}
