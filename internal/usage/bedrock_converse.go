package usage

// Bedrock's converse and converse-stream. Source: aws-sdk-go-v2/service/bedrockruntime's TokenUsage. Input excludes the
// cache counters; a stream reports usage in its last event, `metadata`. No answer names its model, but a prompt router's.
var bedrockConverse = &format{
	root:   object(bedrockFields()),
	counts: bedrockCounts,
	ends:   func(r *Reader) bool { return string(r.kind.bytes()) == "metadata" },
	part:   bedrockPart,
	output: true,
}

func bedrockFields() fields {
	thought := object(fields{"text": output(asReasoning), "reasoningText": object(fields{"text": output(asReasoning)})})
	return fields{
		"usage":             bedrockUsage(),
		"serviceTier":       object(fields{"type": text(toTier)}),
		"performanceConfig": object(fields{"latency": text(toLatency)}),
		"trace":             object(fields{"promptRouter": object(fields{"invokedModelId": text(toModel)}), "guardrail": bedrockGuardrail()}),
		"stopReason":        finish(),
		"delta": object(fields{
			"text": output(asOutput), "toolUse": object(fields{"input": output(asOutput)}), "reasoningContent": thought,
		}),
		"output": object(fields{"message": object(fields{"content": list(object(fields{
			"text": output(asOutput), "reasoningContent": thought,
		}))})}),
	}
}

// bedrockGuardrail is the node of a guardrail's trace, which names what it was billed for: for the input under the guardrail's
// id, for the output in a list. Source: bedrockruntime's GuardrailUsage. Without a trace nothing is reported.
func bedrockGuardrail() *node {
	assessment := object(fields{"invocationMetrics": object(fields{"usage": object(fields{
		"topicPolicyUnits":                feeAdded(GuardrailTopics),
		"contentPolicyUnits":              feeAdded(GuardrailContents),
		"contentPolicyImageUnits":         feeAdded(GuardrailImages),
		"sensitiveInformationPolicyUnits": feeAdded(GuardrailSensitive),
		"contextualGroundingPolicyUnits":  feeAdded(GuardrailGrounding),
		"automatedReasoningPolicyUnits":   feeAdded(GuardrailReasoning),
	})})})
	assessment.elem = assessment
	byID := object(nil)
	byID.any, byID.elem = assessment, byID
	return object(fields{"inputAssessment": byID, "outputAssessments": byID, "input": byID, "outputs": byID})
}

func bedrockUsage() *node { return usageObject(bedrockUsageFields()) }

func bedrockUsageFields() fields {
	detail := object(fields{"ttl": text(toItem), "inputTokens": count(listed)})
	detail.onOpen(func(r *Reader, _ byte) {
		r.itemType.n = 0
		r.cur.n[listed] = 0
	})
	detail.onDone(func(r *Reader) {
		n := r.cur.n[listed]
		r.cur.drop(listed)
		switch string(r.itemType.bytes()) {
		case "5m":
			r.cur.add(written5m, n)
		case "1h":
			r.cur.add(written1h, n)
		}
	})
	return fields{
		"inputTokens":               count(inTotal),
		"outputTokens":              count(outTotal),
		"totalTokens":               count(total),
		"cacheReadInputTokens":      count(cached),
		"cacheWriteInputTokens":     count(written),
		"cacheReadInputTokenCount":  count(cached), // older names, still used by Nova
		"cacheWriteInputTokenCount": count(written),
		"cacheDetails":              list(detail),
	}
}

func bedrockCounts(r *Reader, m *mapped) {
	if r.kept.set == 0 {
		return
	}
	// The counters have Anthropic's meaning; there is but one report.
	whole := *r
	whole.delta = true
	anthropicCounts(&whole, m)
}
