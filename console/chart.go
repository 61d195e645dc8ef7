package console

import (
	"cmp"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/price"
)

const (
	chartWidth, chartHeight = 1200, 200
	// maxBars is the maximum number of bars in a chart.
	maxBars = 400
	// maxBarWidth is the maximum width of a bar.
	maxBarWidth = 80
	// maxSeries is the number of colours in a chart. If there are more series, the smallest share the last
	// colour.
	maxSeries = 8
	// others is the name of the series that sums up the remaining values. The control character prevents
	// collisions with real names.
	others = "\x00others"
)

// chart is a stacked bar chart. The table next to it contains the same values.
type chart struct {
	ID, Title     string
	Width, Height int
	Top           string   // value of the highest bar
	Labels        []string // below the bars, from the first to the last
	Grid          []int    // heights of the grid lines
	Series        []series
	Bars          []bar
}

// series is one name's part of all bars: a single path, coloured by its class.
type series struct{ Name, Class, Path string }

// bar is one bar: its position, and the label and values shown on hover.
type bar struct {
	Label, Value string
	X, Width     int
}

// heap holds the data of a chart: amounts by bar and series.
type heap struct {
	labels []string
	names  []string
	at     map[[2]string]price.Amount
	sums   map[string]price.Amount // by series
}

// add adds an amount to a series in a bar. Bars keep the order in which they were first added.
func (h *heap) add(label, name string, a price.Amount) (err error) {
	if h.at == nil {
		h.at, h.sums = make(map[[2]string]price.Amount), make(map[string]price.Amount)
	}
	if !slices.Contains(h.labels[max(0, len(h.labels)-1):], label) && !slices.Contains(h.labels, label) {
		h.labels = append(h.labels, label)
	}
	if _, ok := h.sums[name]; !ok {
		h.names = append(h.names, name)
	}
	if h.sums[name], err = h.sums[name].Add(a); err != nil {
		return err
	}
	k := [2]string{label, name}
	h.at[k], err = h.at[k].Add(a)
	return err
}

// chart lays out the bars. It returns nil if there is nothing to show or too much to fit.
func (h *heap) chart(id, title, unit string) ([]*chart, error) {
	totals := make([]price.Amount, len(h.labels))
	var top price.Amount
	for i, label := range h.labels {
		for _, name := range h.names {
			var err error
			if totals[i], err = totals[i].Add(h.at[[2]string{label, name}]); err != nil {
				return nil, err
			}
		}
		if totals[i].Cmp(top) > 0 {
			top = totals[i]
		}
	}
	if top.IsZero() || len(h.labels) > maxBars {
		return nil, nil
	}
	c := &chart{
		ID: id, Title: title, Width: chartWidth, Height: chartHeight, Top: unit + top.String(), Labels: ends(h.labels),
		Grid: []int{1, chartHeight / 4, chartHeight / 2, 3 * chartHeight / 4},
	}
	slices.SortStableFunc(h.names, func(a, b string) int {
		switch others {
		case a:
			return 1
		case b:
			return -1
		}
		return cmp.Or(h.sums[b].Cmp(h.sums[a]), strings.Compare(a, b))
	})
	paths := make([][]byte, min(len(h.names), maxSeries))
	highest := units(top)
	for i, label := range h.labels {
		b := bar{Label: label, Value: unit + totals[i].String(), X: i * chartWidth / len(h.labels)}
		b.Width = (i+1)*chartWidth/len(h.labels) - b.X
		gap := max(b.Width/5, b.Width-maxBarWidth)
		base := new(big.Int)
		for n, name := range h.names {
			a := h.at[[2]string{label, name}]
			if a.IsZero() {
				continue
			}
			from := height(base, highest)
			base.Add(base, units(a))
			to := height(base, highest)
			paths[min(n, maxSeries-1)] = appendBar(paths[min(n, maxSeries-1)], b.X+gap/2, chartHeight-to, max(1, b.Width-gap), max(1, to-from))
			if len(h.names) > 1 {
				b.Value += "\n" + strings.TrimPrefix(name, "\x00") + ": " + unit + a.String()
			}
		}
		c.Bars = append(c.Bars, b)
	}
	for i, p := range paths {
		name := strings.TrimPrefix(h.names[i], "\x00")
		if i == maxSeries-1 && len(h.names) > maxSeries {
			name = "others"
		}
		c.Series = append(c.Series, series{name, "s" + strconv.Itoa(i), string(p)})
	}
	return []*chart{c}, nil
}

// height returns the height of an amount in a chart.
func height(n, highest *big.Int) int {
	h := new(big.Int).Mul(n, big.NewInt(chartHeight-1))
	return int(h.Div(h, highest).Int64())
}

func appendBar(path []byte, x, y, width, height int) []byte {
	path = strconv.AppendInt(append(path, 'M'), int64(x), 10)
	path = strconv.AppendInt(append(path, ' '), int64(y), 10)
	path = strconv.AppendInt(append(path, 'h'), int64(width), 10)
	path = strconv.AppendInt(append(path, 'v'), int64(height), 10)
	path = strconv.AppendInt(append(path, "h-"...), int64(width), 10)
	return append(path, 'z')
}

// ends returns the labels to show: all of them if there are few, otherwise the first, the middle and the last.
func ends(labels []string) []string {
	if len(labels) <= 8 {
		return labels
	}
	return []string{labels[0], labels[len(labels)/2], labels[len(labels)-1]}
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
