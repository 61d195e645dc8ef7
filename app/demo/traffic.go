package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

const (
	// callTime is the timeout of a call. atOnce is the maximum number of concurrent calls.
	callTime = time.Minute
	atOnce   = 64
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 8 << 20
	// reportEvery is how often progress is reported on a terminal. lineEvery is how often in a file or a
	// pipe.
	reportEvery = time.Second
	lineEvery   = 10 * time.Second
)

// callers are the simulated callers. A weight is a caller's share of the calls.
var callers = []struct {
	team, alias string
	weight      int
	words       int // average words in a prompt
	limit       int // requests per minute; 0: no limit
}{
	{"demo-support", "demo-helpdesk", 5, 60, 0},
	{"demo-support", "demo-mailbot", 2, 220, 0},
	{"demo-research", "demo-notebook", 3, 600, 0},
	{"demo-website", "demo-search", 6, 12, 0},
	{"demo-website", "demo-chat", 1, 25, 10}, // reaches its limit soon
}

// traffic is the traffic of one run.
type traffic struct {
	site, master string
	client       *http.Client
	models       []string
	keys         []string // by caller

	calls, answered, refused, failed atomic.Int64
}

// newTraffic creates the teams and keys and finds the models to call.
func newTraffic(ctx context.Context, site, master string, models []string) (*traffic, error) {
	t := &traffic{site: site, master: master, client: &http.Client{Timeout: callTime}, models: models}
	if err := t.findModels(ctx); err != nil {
		return nil, err
	}
	made := make(map[string]bool)
	for _, c := range callers {
		if !made[c.team] {
			made[c.team] = true
			if err := t.makeTeam(ctx, c.team); err != nil {
				return nil, err
			}
		}
		key, err := t.makeKey(ctx, c.team, c.alias, c.limit)
		if err != nil {
			return nil, err
		}
		t.keys = append(t.keys, key)
	}
	return t, nil
}

// findModels finds the models whose names begin with demo, unless models were given.
func (t *traffic) findModels(ctx context.Context) error {
	if len(t.models) > 0 {
		return nil
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if _, err := t.manage(ctx, http.MethodGet, "/v1/models", nil, &list); err != nil {
		return err
	}
	for _, m := range list.Data {
		if strings.HasPrefix(m.ID, "demo") {
			t.models = append(t.models, m.ID)
		}
	}
	if len(t.models) == 0 {
		return fmt.Errorf("%s serves no model whose name begins with demo, as those of Caddyfile.example; --model names another", t.site)
	}
	return nil
}

// makeTeam creates a team unless it exists.
func (t *traffic) makeTeam(ctx context.Context, id string) error {
	status, err := t.manage(ctx, http.MethodGet, "/team/info?team_id="+id, nil, nil)
	if status != http.StatusNotFound {
		return err
	}
	_, err = t.manage(ctx, http.MethodPost, "/team/new", map[string]any{"team_id": id, "max_budget": 50, "budget_duration": "1mo"}, nil)
	return err
}

// makeKey creates a key and replaces that of an earlier run.
func (t *traffic) makeKey(ctx context.Context, team, alias string, limit int) (string, error) {
	if status, err := t.manage(ctx, http.MethodPost, "/key/delete", map[string]any{"key_aliases": []string{alias}}, nil); err != nil && status != http.StatusNotFound {
		return "", err
	}
	fields := map[string]any{"team_id": team, "key_alias": alias, "duration": "30d"}
	if limit > 0 {
		fields["rpm_limit"] = limit
	}
	var made struct {
		Key string `json:"key"`
	}
	_, err := t.manage(ctx, http.MethodPost, "/key/generate", fields, &made)
	return made.Key, err
}

// manage sends a request with the master key and decodes the response into v.
func (t *traffic) manage(ctx context.Context, method, path string, body, v any) (int, error) {
	status, answer, err := t.do(ctx, method, path, t.master, body)
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		var refusal struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if json.Unmarshal(answer, &refusal) != nil || refusal.Error.Message == "" {
			refusal.Error.Message = http.StatusText(status)
		}
		return status, fmt.Errorf("%s %s: %d: %s", method, path, status, refusal.Error.Message)
	}
	if v == nil {
		return status, nil
	}
	return status, json.Unmarshal(answer, v)
}

// do sends a request and reads the whole response.
func (t *traffic) do(ctx context.Context, method, path, key string, body any) (status int, answer []byte, err error) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.site+path, sent) //nolint:gosec // the operator names the site
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := t.client.Do(req) //nolint:gosec // as above
	if err != nil {
		return 0, nil, err
	}
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, answer, errors.Join(err, res.Body.Close())
}

// run makes calls for the given time and reports progress. Calls beyond atOnce are skipped.
func (t *traffic) run(ctx context.Context, length time.Duration, rate float64, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	begun := time.Now()
	each := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer each.Stop()
	terminal := isTerminal(out)
	every := reportEvery
	if !terminal {
		every = lineEvery
	}
	report := time.NewTicker(every)
	defer report.Stop()
	var calls sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for {
		select {
		case <-ctx.Done():
			calls.Wait()
			t.report(out, begun, length, terminal, true)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil
			}
			return ctx.Err()
		case <-report.C:
			t.report(out, begun, length, terminal, false)
		case <-each.C:
			select {
			case room <- struct{}{}:
				calls.Go(func() {
					t.call(context.WithoutCancel(ctx))
					<-room
				})
			default:
			}
		}
	}
}

// report writes the progress: on a terminal it overwrites the previous line, elsewhere it adds one.
func (t *traffic) report(out io.Writer, begun time.Time, length time.Duration, terminal, last bool) {
	line := fmt.Sprintf("%s of %s: %s", time.Since(begun).Truncate(time.Second), length, t.summary())
	switch {
	case !terminal:
		line += "\n"
	case last:
		line = "\r" + line + "   \n"
	default:
		line = "\r" + line + "   "
	}
	io.WriteString(out, line) //nolint:errcheck // progress
}

// isTerminal reports whether the output is a terminal.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (t *traffic) summary() string {
	return fmt.Sprintf("%d answered, %d refused, %d failed", t.answered.Load(), t.refused.Load(), t.failed.Load())
}

// call makes one call. The caller is picked by weight and earlier models are preferred. Half of the calls
// are streamed, and a few are invalid on purpose.
func (t *traffic) call(ctx context.Context) {
	n := pick()
	c, key := callers[n], t.keys[n]
	model := t.models[min(rand.IntN(len(t.models)), rand.IntN(len(t.models)))] //nolint:gosec // load, no secret
	switch rand.IntN(50) {                                                     //nolint:gosec // as above
	case 0:
		model = "gpt-none" // no such model
	case 1:
		key = "sk-demo-wrong"
	}
	stream := rand.IntN(2) == 0 //nolint:gosec // as above
	t.calls.Add(1)
	status, _, err := t.do(ctx, http.MethodPost, "/v1/chat/completions", key, map[string]any{
		"model": model, "stream": stream, "messages": []any{map[string]string{"role": "user", "content": prompt(c.words)}},
	})
	switch {
	case err != nil || status >= http.StatusInternalServerError:
		t.failed.Add(1)
	case status != http.StatusOK:
		t.refused.Add(1)
	default:
		t.answered.Add(1)
	}
}

// pick picks a caller by weight.
func pick() int {
	sum := 0
	for _, c := range callers {
		sum += c.weight
	}
	n := rand.IntN(sum) //nolint:gosec // load, no secret
	for i, c := range callers {
		if n -= c.weight; n < 0 {
			return i
		}
	}
	return 0
}

// prompt returns a text of about that many words.
func prompt(words int) string {
	const text = "please summarise the following ticket and suggest an answer in two short paragraphs that the customer will understand "
	n := max(3, words/2+rand.IntN(words+1)) //nolint:gosec // as above
	list := strings.Fields(strings.Repeat(text, n/16+1))
	return strings.Join(list[:min(n, len(list))], " ")
}
