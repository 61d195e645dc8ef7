package usage

import "maps"

// Bedrock's invoke and invoke-with-response-stream: the body is in the model's own shape, or, in a binary event stream,
// in the Base64 text of an event's `bytes`. The last event of a stream has `amazon-bedrock-invocationMetrics`, whatever
// the model.
var bedrockInvoke = &format{
	root:    object(bedrockInvokeFields()),
	wrapper: object(fields{"bytes": {leaf: leafBase64}}),
	counts:  bedrockInvokeCounts,
	part:    anthropicPart,
	ends: func(r *Reader) bool {
		return string(r.kind.bytes()) == "message_stop" || r.other.has(flag)
	},
	output: true,
}

func bedrockInvokeFields() fields {
	metrics := apartObject(fields{
		"inputTokenCount": count(inTotal), "outputTokenCount": count(outTotal),
		"cacheReadInputTokenCount": count(cached), "cacheWriteInputTokenCount": count(written),
	})
	metrics.onDone(func(r *Reader) {
		r.cur.put(flag, 1)
		commitApart(r)
	})
	f := bedrockFields() // Nova
	maps.Copy(f, anthropicFields())
	f["choices"] = openAIChoices() // models of OpenAI, Mistral, DeepSeek and Qwen
	usage := anthropicUsage()
	usage.with(openAIUsageFields()).with(bedrockUsageFields())
	f["usage"] = usage.onDone(anthropicDelta)
	f["metadata"] = object(fields{"usage": bedrockUsage().onDone(anthropicDelta)})
	// Nova's events have no type but a member of that name, in place of Anthropic's `type`.
	as := func(kind string, n *node) *node {
		return n.onOpen(func(r *Reader, _ byte) { r.kind.put([]byte(kind)) })
	}
	f["contentBlockDelta"] = as("content_block_delta", object(fields{"delta": object(fields{"text": output(asOutput)})}))
	f["contentBlockStop"] = as("content_block_stop", object(fields{}))
	f["messageStop"] = object(fields{"stopReason": finish()})
	f["amazon-bedrock-invocationMetrics"] = metrics
	f["amazon-bedrock-trace"] = object(fields{"guardrail": bedrockGuardrail()})
	f["completion"] = output(asOutput) // Claude 2
	// Llama.
	f["generation"] = output(asOutput)
	f["prompt_token_count"] = countApart(inTotal)
	f["generation_token_count"] = countApart(outTotal)
	// Titan.
	f["outputText"] = output(asOutput)
	f["inputTextTokenCount"] = countApart(inTotal)
	f["totalOutputTextTokenCount"] = countApart(outTotal)
	// Models that embed have no output: Titan's, which count their input, and Cohere's, which do not.
	f["embedding"], f["embeddings"] = noOutput(), noOutput()
	// Mistral, Cohere, AI21: they report nothing, so that their text is counted.
	f["outputs"] = list(object(fields{"text": output(asOutput)}))
	f["generations"] = f["outputs"]
	f["text"] = output(asOutput)
	f["completions"] = list(object(fields{"data": object(fields{"text": output(asOutput)})}))
	f["results"] = list(object(fields{"outputText": output(asOutput), "tokenCount": countApart(outTotal)}))
	return f
}

// noOutput is the node of something in place of which no text is generated.
func noOutput() *node {
	return new(node).onOpen(func(r *Reader, _ byte) { r.other.put(outTotal, 0) })
}

func bedrockInvokeCounts(r *Reader, m *mapped) {
	whole := *r
	switch {
	case r.kept.has(prompt) || r.kept.has(completion):
		openAIChatCounts(&whole, m)
		return
	case r.kept.set == 0 || !r.delta && r.other.has(flag):
		whole.kept = r.other
		whole.delta = whole.kept.has(outTotal)
	}
	anthropicCounts(&whole, m)
}
