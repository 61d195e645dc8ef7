package translate

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

var responsesToChatPair = Pair{Responses, Chat}

func translation(p Pair, o Options) *Translation {
	if o.Model == "" {
		o.Model, o.Upstream, o.ID, o.Created = "model", "upstream", "made", 7
	}
	return &Translation{Options: o, Pair: p, table: tables[p]}
}

// sketch shows turns in short: s system, u user, a assistant, o outputs.
func sketch(turns []turn) string {
	var lines []string
	for _, t := range turns {
		line := string("suao"[t.role])
		for _, p := range t.parts {
			line += " " + sketchPart(p)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func sketchPart(p part) string {
	switch p.kind {
	case partText:
		return inner(p.text)
	case partRefusal:
		return "refusal:" + inner(p.text)
	case partImage:
		return "image:" + inner(p.url) + inner(p.detail)
	case partFile:
		return "file:" + inner(p.url) + ":" + inner(p.title)
	case partThinking:
		return "thinking:" + inner(p.text) + ":" + p.seal
	case partCall:
		return p.id + "=" + p.name + p.arguments
	}
	line := "->" + p.id
	for _, p := range p.parts {
		line += " " + sketchPart(p)
	}
	return line
}

func call(id, name string) string {
	return `{"type":"function_call","id":"fc_1","call_id":"` + id + `","name":"` + name + `","arguments":"{}","status":"completed"}`
}

func output(id, text string) string {
	return `{"type":"function_call_output","call_id":"` + id + `","output":"` + text + `"}`
}

func said(role, text string) string { return `{"role":"` + role + `","content":"` + text + `"}` }

func TestResponsesItemsBecomeTurns(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"a string", `{"input":"hi"}`, "u hi"},
		{"instructions first", `{"input":"hi","instructions":"be\n"}`, "s be\\n\nu hi"},
		{"no instructions", `{"input":"hi","instructions":null}`, "u hi"},
		{"developers are the system's", `{"input":[` + said("developer", "a") + "," + said("developer", "b") + "," + said("user", "c") + `]}`, "s a\ns b\nu c"},
		{
			"parallel calls are one turn", `{"input":[` + call("A", "f") + "," + call("B", "g") + "," + output("A", "1") + "," + output("B", "2") + `]}`,
			"a A=f{} B=g{}\no ->A 1 ->B 2",
		},
		{
			"outputs in the order of the calls", `{"input":[` + call("A", "f") + "," + call("B", "g") + "," + output("B", "2") + "," + output("A", "1") + `]}`,
			"a A=f{} B=g{}\no ->A 1 ->B 2",
		},
		{
			"serial calls are two turns", `{"input":[` + call("A", "f") + "," + output("A", "1") + "," + call("B", "g") + "," + output("B", "2") + `]}`,
			"a A=f{}\no ->A 1\na B=g{}\no ->B 2",
		},
		{
			"a message between a call and its output is the call's turn", `{"input":[` + call("A", "f") + "," + said("assistant", "x") + "," + output("A", "1") + `]}`,
			"a A=f{} x\no ->A 1",
		},
		{
			"text and reasoning before calls", `{"input":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"E","content":null},
			{"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[{"type":"output_text","text":"x","annotations":[]},{"type":"refusal","refusal":"no"}]},` + call("A", "f") + "," + output("A", "") + `]}`,
			"a thinking:a\\n\\nb:E x refusal:no A=f{}\no ->A ",
		},
		{"a user's message before an output follows it", `{"input":[` + call("A", "f") + "," + said("user", "x") + "," + output("A", "1") + `]}`, "a A=f{}\no ->A 1\nu x"},
		{
			"the model goes on after outputs", `{"input":[` + call("A", "f") + "," + output("A", "1") + "," + said("assistant", "x") + "," + said("user", "y") + `]}`,
			"a A=f{}\no ->A 1\na x\nu y",
		},
		{
			"an id may be used again", `{"input":[` + call("A", "f") + "," + output("A", "1") + "," + call("A", "f") + "," + output("A", "2") + `]}`,
			"a A=f{}\no ->A 1\na A=f{}\no ->A 2",
		},
		{
			"parts", `{"input":[{"role":"user","content":[{"type":"input_text","text":"t"},{"type":"input_image","image_url":"https://i","detail":"low","file_id":null},{"type":"input_file","file_data":"data:x","filename":"n"}]}]}`,
			"u t image:https://ilow file:data:x:n",
		},
		{
			"an output of parts", `{"input":[` + call("A", "f") + `,{"type":"function_call_output","call_id":"A","output":[{"type":"input_text","text":"t"},{"type":"input_image","image_url":"data:i"}]}]}`,
			"a A=f{}\no ->A t image:data:i",
		},
		{
			"custom calls", `{"input":[{"type":"custom_tool_call","call_id":"A","name":"patch","input":"a\"b"},{"type":"custom_tool_call_output","call_id":"A","output":"ok"}]}`,
			"a A=patch{\"input\":\"a\\\"b\"}\no ->A ok",
		},
		{
			"namespaces", `{"input":[{"type":"function_call","call_id":"A","name":"spawn","namespace":"agents","arguments":""},` + output("A", "1") + `]}`,
			"a A=agents__spawn{}\no ->A 1",
		},
	} {
		r, err := readResponses(translation(responsesToChatPair, Options{}), []byte(c.body))
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, sketch(r.turns), c.name)
	}
}

func TestResponsesRefusals(t *testing.T) {
	for body, want := range map[string]string{
		`{"input":1}`:   "input must be a string or an array",
		`{"input":[1]}`: "input[0] must be an object",
		`{`:             "body is not JSON",
		`{"input":"x","previous_response_id":"resp_1"}`:                                               "previous_response_id refers to",
		`{"input":"x","frob":1}`:                                                                      "frob is not known here",
		`{"input":[` + call("A", "f") + `]}`:                                                          "input[0] has no output",
		`{"input":[` + output("A", "x") + `]}`:                                                        `input[0].call_id is not that of a call without an output: "A"`,
		`{"input":[` + call("A", "f") + "," + call("A", "f") + `]}`:                                   "input[1] has the id of another call",
		`{"input":[{"type":"item_reference","id":"x"}]}`:                                              "input[0] refers to an item",
		`{"input":[{"id":"x"}]}`:                                                                      "input[0] refers to an item",
		`{"input":[{"type":"compaction","encrypted_content":"x"}]}`:                                   "input[0] is of a compacted",
		`{"input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]}`:                "input[0].content[0].file_id refers to",
		`{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`:                              "input[0].content[0] needs image_url",
		`{"input":[{"role":"user","content":[{"type":"input_text"}]}]}`:                               "input[0].content[0] needs its text",
		`{"input":"x","tools":[{"type":"web_search"}]}`:                                               `tools[0] is run by OpenAI, and not here; Codex leaves it out with`,
		`{"input":"x","tools":[{"type":"mcp","server_label":"x"}]}`:                                   "tools[0] is run by OpenAI",
		`{"input":"x","tools":[{"type":"function","name":"a.b","parameters":null,"strict":null}]}`:    "tools[0].name must be letters",
		`{"input":"x","tools":[{"type":"function","name":"a"},{"type":"custom","name":"a"}]}`:         "tools[1] has the name a upstream, as another tool does",
		`{"input":"x","tools":[{"type":"function","name":"` + strings.Repeat("a", 65) + `"}]}`:        "tools[0] has the name aaa",
		`{"input":"x","tool_choice":{"type":"web_search_preview"}}`:                                   "tool_choice forces a tool",
		`{"input":"x","tool_choice":{"type":"function","name":"f"}}`:                                  "tool_choice.name names no tool",
		`{"input":"x","text":{"format":{"type":"grammar"}}}`:                                          "text.format is not known here",
		`{"input":[{"role":"user","content":"x","frob":1}]}`:                                          "input[0].frob is not known here",
		`{"input":"x","tools":[{"type":"function","name":"a","parameters":{},"defer_loading":true}]}`: "tools[0].defer_loading asks",
	} {
		_, err := readResponses(translation(responsesToChatPair, Options{}), []byte(body))
		require.ErrorContains(t, err, want, body)
		require.IsType(t, &Refusal{}, err)
	}
}

func TestResponsesTools(t *testing.T) {
	tr := translation(responsesToChatPair, Options{})
	r, err := readResponses(tr, []byte(`{"input":"x","tools":[
		{"type":"function","name":"run","description":"runs","parameters":{"type":"object","z":1.0},"strict":false},
		{"type":"namespace","name":"agents","description":"d","tools":[{"type":"function","name":"spawn","parameters":null,"strict":null},{"type":"function","name":"run"}]},
		{"type":"custom","name":"patch","description":"p","format":{"type":"grammar","syntax":"lark","definition":"start: \"x\""}},
		{"type":"web_search","external_web_access":true}],"tool_choice":{"type":"custom","name":"patch"}}`))
	require.NoError(t, err)
	var names []string
	for _, tool := range r.tools.list {
		names = append(names, tool.name)
	}
	require.Equal(t, []string{"run", "agents__spawn", "agents__run", "patch"}, names)
	require.Equal(t, `{"type":"object","z":1.0}`, r.tools.list[0].schema)
	require.Equal(t, "false", r.tools.list[0].strict)
	require.Equal(t, `"p\n\nThe input follows this grammar (lark):\nstart: \"x\""`, r.tools.list[3].description)
	require.Equal(t, choice{mode: "required", name: "patch"}, r.choice)
	require.Equal(t, []string{"tools[namespace].description", "tools[custom].format.grammar", "tools[web_search]"}, tr.Dropped())
	for name, want := range map[string]string{"agents__spawn": "agents/spawn", "spawn": "agents/spawn", "run": "/run", "patch": "/patch", "gone": ""} {
		found, ok := r.tools.find(name)
		if require.Equal(t, want != "", ok, name); ok {
			require.Equal(t, want, found.namespace+"/"+found.own, name)
		}
	}
}

// eventsOf splits a stream into the names and the data of its events.
func eventsOf(t *testing.T, stream []byte) (names []string, data []gjson.Result) {
	t.Helper()
	for _, e := range strings.Split(strings.TrimSuffix(string(stream), "\n\n"), "\n\n") {
		if strings.HasPrefix(e, ":") {
			continue
		}
		name, rest, ok := strings.Cut(strings.TrimPrefix(e, "event: "), "\ndata: ")
		require.True(t, ok && gjson.Valid(rest), e)
		require.Equal(t, name, gjson.Get(rest, "type").Str)
		names, data = append(names, name), append(data, gjson.Parse(rest))
	}
	return names, data
}

func TestResponsesStream(t *testing.T) {
	tr := translation(responsesToChatPair, Options{})
	r, err := readResponses(tr, []byte(`{"input":"x","include":["reasoning.encrypted_content"],"tools":[{"type":"namespace","name":"n","description":"d","tools":[{"type":"function","name":"f"}]},
		{"type":"custom","name":"patch"}],"metadata":{"a":"b"},"temperature":0.50}`))
	require.NoError(t, err)
	w := newResponsesWriter(tr, r)
	w.keep = true
	var dst []byte
	step := func(b []byte, err error) {
		require.NoError(t, err)
		dst = b
	}
	dst = w.begin(dst, "chatcmpl-1", 9)
	step(w.thinking(dst, "th"))
	step(w.thinking(dst, "ink"))
	step(w.sealed(dst, "SEAL"))
	step(w.text(dst, `a\n`))
	step(w.text(dst, `b`))
	step(w.refusal(dst, "no"))
	step(w.call(dst, "id1", "n__f"))
	step(w.arguments(dst, `{\"a\":`))
	step(w.arguments(dst, `1}`))
	step(w.call(dst, "id2", "patch"))
	step(w.arguments(dst, `{ \"input\" :\"x\\`))
	step(w.arguments(dst, `ny\"}`))
	dst = w.ping(dst)
	step(w.end(dst, ending{stop: stopCalls, tokens: tokens{true, 10, 4, 1, 5, 2}}))

	names, data := eventsOf(t, dst)
	require.Equal(t, strings.Fields(`response.created response.in_progress
		response.output_item.added response.reasoning_summary_part.added response.reasoning_summary_text.delta response.reasoning_summary_text.delta
		response.reasoning_summary_text.done response.reasoning_summary_part.done response.output_item.done
		response.output_item.added response.content_part.added response.output_text.delta response.output_text.delta response.output_text.done response.content_part.done
		response.content_part.added response.refusal.delta response.refusal.done response.content_part.done response.output_item.done
		response.output_item.added response.function_call_arguments.delta response.function_call_arguments.delta response.function_call_arguments.done response.output_item.done
		response.output_item.added response.custom_tool_call_input.delta response.custom_tool_call_input.delta
		response.in_progress response.custom_tool_call_input.done response.output_item.done response.completed`), names)
	var items []string
	for i, d := range data {
		require.Equal(t, int64(i), d.Get("sequence_number").Int())
		if names[i] == "response.output_item.done" {
			items = append(items, d.Get("item").Raw)
			require.Equal(t, strconv.Itoa(len(items)-1), d.Get("output_index").Raw)
		}
	}
	require.Equal(t, []string{
		`{"id":"rs_1_0","type":"reasoning","summary":[{"type":"summary_text","text":"think"}],"encrypted_content":"SEAL"}`,
		`{"id":"msg_1_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"a\nb","annotations":[],"logprobs":[]},{"type":"refusal","refusal":"no"}]}`,
		`{"id":"fc_1_2","type":"function_call","status":"completed","call_id":"id1","name":"f","namespace":"n","arguments":"{\"a\":1}"}`,
		`{"id":"ctc_1_3","type":"custom_tool_call","status":"completed","call_id":"id2","name":"patch","input":"x\ny"}`,
	}, items)
	last := data[len(data)-1].Get("response")
	require.Equal(t, "["+strings.Join(items, ",")+"]", last.Get("output").Raw)
	require.Equal(t, string(w.whole), last.Raw)
	require.Equal(t, `{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":1},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":15}`, last.Get("usage").Raw)
	for name, want := range map[string]string{
		"id": `"resp_1"`, "created_at": "9", "model": `"model"`, "status": `"completed"`, "metadata": `{"a":"b"}`, "temperature": "0.50", "top_p": "null",
		"error": "null", "incomplete_details": "null", "store": "false", "tool_choice": `"auto"`, "parallel_tool_calls": "true",
	} {
		require.Equal(t, want, last.Get(name).Raw, name)
		require.Equal(t, want, strings.Replace(data[0].Get("response."+name).Raw, "in_progress", "completed", 1), name)
	}
	require.Equal(t, "null", data[0].Get("response.usage").Raw)
}

func TestResponsesEndings(t *testing.T) {
	for _, c := range []struct {
		stop                  stop
		event, reason, status string
	}{
		{stopEnd, "response.completed", "", "completed"},
		{stopSequence, "response.completed", "", "completed"},
		{stopLength, "response.incomplete", "max_output_tokens", "incomplete"},
		{stopWindow, "response.incomplete", "max_output_tokens", "incomplete"},
		{stopFilter, "response.incomplete", "content_filter", "incomplete"},
	} {
		w := newResponsesWriter(translation(responsesToChatPair, Options{}), nil)
		dst, err := w.text(w.begin(nil, "", 0), "x")
		require.NoError(t, err)
		dst, err = w.end(dst, ending{stop: c.stop})
		require.NoError(t, err)
		names, data := eventsOf(t, dst)
		last := data[len(data)-1].Get("response")
		require.Equal(t, c.event, names[len(names)-1])
		require.Equal(t, c.reason, last.Get("incomplete_details.reason").Str)
		require.Equal(t, c.status, last.Get("output.0.status").Str)
		require.Equal(t, "null", last.Get("usage").Raw)
		require.Equal(t, "resp_made", last.Get("id").Str)
	}
	w := newResponsesWriter(translation(responsesToChatPair, Options{}), nil)
	names, data := eventsOf(t, w.fail(w.ping(nil), failure{status: 429, message: `slow "down"`}))
	require.Equal(t, []string{"response.created", "response.in_progress", "response.failed"}, names)
	require.Equal(t, `{"code":"rate_limit_exceeded","message":"slow \"down\""}`, data[2].Get("response.error").Raw)
}

func TestCustomInput(t *testing.T) {
	for arguments, want := range map[string]string{
		`{"input":"abc"}`:               "abc",
		` { "input" : "a\n\"\\b" } `:    "a\n\"\\b",
		`{"input":"\ud83d\ude00 é"}`:    "😀 é",
		"{\"input\":\"raw\nline\\x\"}":  "raw\nline\\x",
		`{"note":1,"input":"late"}`:     "late",
		`{"patch":"x"}`:                 `{"patch":"x"}`,
		`*** Begin`:                     "*** Begin",
		`{"input":"cut \`:               "cut \\",
		`{"input":"cut`:                 "cut",
		`{"input":"a","more":"ignored"`: "a",
		``:                              "",
	} {
		raw := inner(string(appendString(nil, arguments)))
		for size := 1; size <= len(raw)+1; size++ {
			var r inputReader
			got := ""
			for at := 0; at < len(raw); {
				to := min(at+size, len(raw))
				for to < len(raw) && !gjson.Valid(`"`+raw[at:to]+`"`) {
					to++
				}
				piece, err := r.write(raw[at:to])
				require.NoError(t, err)
				require.True(t, gjson.Valid(`"`+piece+`"`), piece)
				got += piece
				at = to
			}
			got += r.rest()
			require.Equal(t, want, gjson.Parse(`"`+got+`"`).Str, "%s by %d", arguments, size)
		}
	}
}
