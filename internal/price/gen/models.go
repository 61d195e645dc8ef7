package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// notOffered are the providers for which LiteLLM's list has entries for shapes, sizes or regions of a model, with these as a prefix of
// the name before a slash.
var notOffered = map[string]bool{"openai": true, "azure": true, "bedrock": true, "vertex": true, "gemini": true, "xai": true, "mistral": true}

// modelInfo returns models.txt: the properties of each model with a price in LiteLLM's list, except prices.
func modelInfo(file []byte, models []price.LiteLLMModel) ([]byte, error) {
	var all map[string]map[string]json.RawMessage
	if err := json.Unmarshal(file, &all); err != nil {
		return nil, err
	}
	rows := make(map[string]string) // by provider and name
	for _, m := range models {
		name := m.Names[len(m.Names)-1]
		if m.Provider == "" || m.Mode == "" || strings.Contains(name, "*") || strings.Contains(name, "realtime") || strings.HasPrefix(name, "ft:") || strings.Contains(name, "/") && notOffered[m.Provider] {
			continue
		}
		key := m.Provider + "\t" + name
		if _, taken := rows[key]; taken && len(m.Names) > 1 {
			continue // a name without the provider takes precedence over one with it
		}
		rows[key] = key + "\t" + infoRow(m.Mode, all[m.ID])
	}
	var b bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintln(&b, rows[key])
	}
	return b.Bytes(), nil
}

// infoRow returns the line of a model without provider and name.
func infoRow(mode string, fields map[string]json.RawMessage) string {
	is := func(key string) bool { return string(fields[key]) == "true" }
	tokens := func(key string) string {
		if n, err := strconv.ParseInt(string(fields[key]), 10, 64); err == nil && n > 0 {
			return strconv.FormatInt(n, 10)
		}
		return ""
	}
	words := func(key string, also map[string]string, plain string) string {
		var list []string
		if json.Unmarshal(fields[key], &list) != nil || len(list) == 0 {
			list = []string{plain}
		}
		for ability, word := range also {
			if is(ability) {
				list = append(list, word)
			}
		}
		slices.Sort(list)
		return strings.Join(slices.Compact(list), ",")
	}
	in, out := "text", "text"
	switch mode {
	case "audio_transcription":
		in = "audio"
	case "audio_speech":
		out = "audio"
	case "image_generation", "image_edit":
		out = "image"
	case "video_generation":
		out = "video"
	case "embedding":
		out = "embeddings"
	case "ocr":
		in = "file"
	}
	var can []string
	for _, a := range []struct{ key, word string }{
		{"supports_function_calling", "functions"}, {"supports_reasoning", "reasoning"}, {"supports_response_schema", "schema"}, {"supports_prompt_caching", "caching"},
	} {
		if is(a.key) {
			can = append(can, a.word)
		}
	}
	return strings.Join([]string{
		mode, tokens("max_input_tokens"), tokens("max_output_tokens"),
		words("supported_modalities", map[string]string{"supports_vision": "image", "supports_audio_input": "audio", "supports_video_input": "video", "supports_pdf_input": "file"}, in),
		words("supported_output_modalities", map[string]string{"supports_audio_output": "audio"}, out),
		strings.Join(can, ","),
	}, "\t")
}
