package usage

import "net/http"

// header reads usage from the header of an answer: for Bedrock the tokens of every invoke, its tier and its latency; for Google the tier
// that served.
func (r *Reader) header() {
	h := r.o.Header
	if len(h) == 0 {
		return
	}
	switch r.o.API {
	case GeminiGenerate, GeminiEmbed:
		r.tier.put(headerValue(h, "X-Gemini-Service-Tier"))
	case BedrockInvoke, BedrockConverse:
		r.tier.put(headerValue(h, "X-Amzn-Bedrock-Service-Tier"))
		r.name(toLatency, headerValue(h, "X-Amzn-Bedrock-Performanceconfig-Latency"))
		for _, c := range [...]struct {
			name string
			slot slot
		}{
			{"X-Amzn-Bedrock-Input-Token-Count", inTotal},
			{"X-Amzn-Bedrock-Output-Token-Count", outTotal},
			{"X-Amzn-Bedrock-Cache-Read-Input-Token-Count", cached},
			{"X-Amzn-Bedrock-Cache-Write-Input-Token-Count", written},
		} {
			if n, ok := parseCount(headerValue(h, c.name)); ok {
				r.other.put(c.slot, n)
			}
		}
	default: // no other provider states usage there
	}
}

func headerValue(h http.Header, name string) []byte {
	if v := h[name]; len(v) == 1 {
		return []byte(v[0])
	}
	return nil
}
