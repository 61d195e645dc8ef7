package spend

import (
	"context"
	"strings"
)

// Served is what an instance has ever added to the books for the calls with the same model and backend: totals that grow like a
// counter and outlive the process.
type Served struct {
	Model, Backend, Outcome, Provider, Endpoint string

	Sums Sums
}

// servedDimensions are those of Served: configured names and closed lists.
var servedDimensions = [...]Dimension{Model, Backend, Outcome, Provider, Endpoint}

// servedText returns the name of a row of Served: its instance and the values, separated by a byte that none of them contains.
func servedText(instance string, v *values) string {
	parts := append(make([]string, 0, 1+len(servedDimensions)), instance)
	for _, d := range servedDimensions {
		parts = append(parts, v[d])
	}
	return strings.Join(parts, "\x00")
}

// Served returns what this instance has added, in no order.
func (b *Book) Served(ctx context.Context) ([]Served, error) {
	var list []Served
	err := b.medium.view(ctx, func(r reader) error {
		places := make(map[id]int)
		var ids []id
		err := r.names(served, func(i id, text string) error {
			parts := strings.Split(text, "\x00")
			if parts[0] != b.o.Instance {
				return nil
			}
			if len(parts) != 1+len(servedDimensions) {
				return errDamaged
			}
			places[i] = len(list)
			ids = append(ids, i)
			list = append(list, Served{
				Model: parts[1], Backend: parts[2], Outcome: parts[3], Provider: parts[4], Endpoint: parts[5],
			})
			return nil
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		found := make([]sums, len(list))
		err = r.scan(ever, served, 0, 1, ids, func(_ uint32, i id) *sums {
			n, asked := places[i]
			if !asked {
				return nil
			}
			return &found[n]
		})
		if err != nil {
			return err
		}
		for n := range list {
			list[n].Sums = Sums{}
			if found[n].names != nil {
				list[n].Sums = found[n].done()
			}
		}
		return nil
	})
	return list, err
}
