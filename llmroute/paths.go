package llmroute

import (
	"strings"
)

const geminiModels = "models/"

// anthropicPath keeps the version out of the base URL, as Anthropic's SDKs do.
func anthropicPath(b *Backend, c *calling) (path, query string) {
	if c.query == "beta=true" {
		query = c.query // how Anthropic's SDKs mark their beta calls
	}
	return b.basePath + "/v1/" + c.ep.Name, query
}

// geminiPath names the model in the path, as Gemini's API has it.
func geminiPath(b *Backend, c *calling) (path, query string) {
	return b.basePath + "/v1beta/models/" + escape(c.upstream) + ":" + c.ep.Name, geminiQuery(c)
}

// geminiQuery keeps the one parameter that changes the answer's form: without it, a stream is a JSON array.
func geminiQuery(c *calling) string {
	if c.ep.Streamed {
		for part := range strings.SplitSeq(c.query, "&") {
			if part == "alt=sse" || part == "%24alt=sse" || part == "$alt=sse" {
				return "alt=sse"
			}
		}
	}
	return ""
}

// bedrockPath names the model in the path, as Bedrock's runtime API has it.
func bedrockPath(b *Backend, c *calling) (path, query string) {
	return b.basePath + "/model/" + escape(c.upstream) + "/" + c.ep.Name, ""
}
