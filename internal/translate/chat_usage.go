package translate

import "github.com/tidwall/gjson"

// chatTokens reads usage as the bill does, in all forms in which providers report it: the caller is told what it is billed.
func chatTokens(t *Translation, u gjson.Result) tokens {
	first := func(paths ...string) int64 {
		for _, p := range paths {
			if n := u.Get(p); n.Type == gjson.Number && n.Int() > 0 {
				return n.Int()
			}
		}
		return 0
	}
	n := tokens{
		known: u.Get("prompt_tokens").Exists() || u.Get("completion_tokens").Exists(),
		input: first("prompt_tokens"),
		cached: first("prompt_cache_hit_tokens", "prompt_tokens_details.cached_tokens", "prompt_tokens_details.cache_read_input_tokens",
			"num_cached_tokens", "cached_tokens", "cached_prompt_text_tokens"),
		written: first("prompt_tokens_details.cache_write_tokens", "prompt_tokens_details.cache_creation_tokens",
			"prompt_tokens_details.cache_creation_input_tokens"),
		output:    first("completion_tokens"),
		reasoning: first("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
	}
	if miss := u.Get("prompt_cache_miss_tokens"); n.input == 0 && miss.Type == gjson.Number { // of DeepSeek
		n.input, n.known = n.cached+miss.Int(), true
	}
	n.written = min(n.written, n.input)
	n.cached = min(n.cached, n.input-n.written) // what one step of a call writes, the next one reads

	// Whether the completion holds the reasoning is a habit of the provider. Where the total is reported, it decides.
	total := first("total_tokens")
	rest := total - n.input - n.output
	switch {
	case t.Provider == "perplexity": // the total leaves it out
		n.reasoning = first("reasoning_tokens")
		n.output += n.reasoning
	case total == 0 && t.Provider == "xai", rest == n.reasoning:
		n.output += n.reasoning
	case rest > 0 && n.reasoning == 0 && t.Google: // whose thoughts are in the total alone
		n.reasoning = rest
		n.output += rest
	}
	n.reasoning = min(n.reasoning, n.output)
	return n
}

// timedTokens reads llama.cpp's timings, in which the prompt is without what was read from the cache.
func timedTokens(timings gjson.Result) tokens {
	n := tokens{known: true, cached: timings.Get("cache_n").Int(), output: timings.Get("predicted_n").Int()}
	n.input = timings.Get("prompt_n").Int() + n.cached
	return n
}
