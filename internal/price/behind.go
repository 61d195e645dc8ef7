package price

import (
	_ "embed" // the price data
	"fmt"
	"net/url"
	"strings"
)

//go:embed litellm.txt
var liteText string

// rows is a list of models by exact name, as text. A lookup searches it and parses only the line found, so that loading it costs
// nothing. After a comment and a line with the version come lines of tab-separated fields, sorted bytewise:
//
//	<provider> <name in lower case> [regional=<factor>] <name=price>...
//
// A provider with a leading "!" marks a line that takes precedence over the first source.
type rows struct {
	version, fetched string
	text             string
}

func newRows(text string) *rows {
	_, text, _ = strings.Cut(text, "\n")
	head, text, _ := strings.Cut(text, "\n")
	f := strings.Split(head, "\t")
	if len(f) != 3 || f[0] != "version" {
		panic("embedded prices have no version") // the data is part of the program and parsed by its tests
	}
	return &rows{version: f[1], fetched: f[2], text: text}
}

// find returns the entry of a provider's model, or nil.
func (r *rows) find(provider, name string) *entry {
	key := provider + "\t" + name + "\t"
	low, high := 0, len(r.text) // both are beginnings of lines
	for low < high {
		start := low + strings.LastIndexByte(r.text[low:low+(high-low)/2], '\n') + 1
		row, _, _ := strings.Cut(r.text[start:high], "\n")
		switch {
		case strings.HasPrefix(row, key):
			e := parseRow(row)
			e.source, e.date = r.version, r.fetched
			return e
		case row < key:
			low = start + len(row) + 1
		default:
			high = start
		}
	}
	return nil
}

// parseRow parses a line.
func parseRow(row string) *entry {
	f := strings.Split(row, "\t")
	e := &entry{provider: strings.TrimPrefix(f[0], "!"), id: f[1]}
	prices := f[2:]
	if factor, ok := strings.CutPrefix(prices[0], "regional="); ok {
		var err error
		if e.regional, err = ParsePrice(factor); err != nil {
			panic(fmt.Sprintf("embedded prices: %s: %v", row, err)) // as above
		}
		prices = prices[1:]
	}
	v, err := parseVariant(append([]string{"-"}, prices...))
	if err != nil {
		panic(fmt.Sprintf("embedded prices: %s: %v", row, err)) // as above
	}
	e.variants = []variant{v}
	return e
}

// finder returns a layer's function that finds an entry among the lines whose provider has that prefix.
func (r *rows) finder(mark string) func(*who, string) *entry {
	return func(w *who, name string) *entry {
		for _, provider := range w.names {
			if w.region != "" {
				if e := r.find(mark+provider, w.region+"/"+name); e != nil {
					return e
				}
			}
			if e := r.find(mark+provider, name); e != nil {
				return e
			}
		}
		if bare := withoutProvider(name, w.names...); bare != name {
			return r.finder(mark)(w, bare)
		}
		return nil
	}
}

// hosts are the API hosts of the providers that only LiteLLM's list has. Source: its get_llm_provider_logic.py and
// openai_like/providers.json.
var hosts = map[string]string{
	"ai-gateway.vercel.sh":               "vercel_ai_gateway",
	"aihubmix.com":                       "aihubmix",
	"api.abliteration.ai":                "abliteration",
	"api.ai21.com":                       "ai21",
	"api.aiand.com":                      "aiand",
	"api.aimlapi.com":                    "aiml",
	"api.cognition.ai":                   "cognition",
	"api.darkbloom.dev":                  "darkbloom",
	"api.deepgram.com":                   "deepgram",
	"api.deepinfra.com":                  "deepinfra",
	"api.empiriolabs.ai":                 "empiriolabs",
	"api.endpoints.anyscale.com":         "anyscale",
	"api.friendli.ai":                    "friendliai",
	"api.gmi-serving.com":                "gmi",
	"api.hyperbolic.xyz":                 "hyperbolic",
	"api.inceptionlabs.ai":               "inception",
	"api.inference.crusoecloud.com":      "crusoe",
	"api.inference.wandb.ai":             "wandb",
	"api.inferenceapis.com":              "inferenceapis",
	"api.jina.ai":                        "jina_ai",
	"api.lambda.ai":                      "lambda_ai",
	"api.libertai.io":                    "libertai",
	"api.llamagate.dev":                  "llamagate",
	"api.morphllm.com":                   "morph",
	"api.openinfer.ai":                   "openinfer",
	"api.prisminference.com":             "prism",
	"api.refuseless.com":                 "refuseless",
	"api.sailresearch.com":               "sail",
	"api.sambanova.ai":                   "sambanova",
	"api.scaleway.ai":                    "scaleway",
	"api.scx.ai":                         "scx-ai",
	"api.studio.nebius.ai":               "nebius",
	"api.v0.dev":                         "v0",
	"api.xiaomimimo.com":                 "xiaomi_mimo",
	"api.zerogpu.ai":                     "zerogpu",
	"ark.cn-beijing.volces.com":          "volcengine",
	"dashscope-intl.aliyuncs.com":        "dashscope",
	"inference.api.nscale.com":           "nscale",
	"inference.coralbricks.ai":           "coralbricks",
	"inference.do-ai.run":                "gradient_ai",
	"inference.runanywhere.ai":           "wally",
	"kymaapi.com":                        "kyma",
	"llm-gateway.assemblyai.com":         "assemblyai",
	"opencode.ai":                        "opencode_go",
	"pinstripes.io":                      "pinstripes",
	"router.hostinger.com":               "hostinger_router",
	"serverless.tensormesh.ai":           "tensormesh",
	"tokenhub-intl.tencentcloudmaas.com": "tencent",
	"vanchin.streamlake.ai":              "streamlake",
}

// servedBy returns the provider at a host; empty if it is not one that only LiteLLM's list has.
func servedBy(host string) string {
	if strings.HasPrefix(host, mantle) {
		return "bedrock_mantle"
	}
	return hosts[host]
}

// mantle is the prefix of the hosts of Bedrock's endpoint with OpenAI's API: bedrock-mantle.us-east-1.api.aws.
const mantle = "bedrock-mantle."

// host returns the host of a base URL in lower case; empty if there is none.
func host(baseURL string) string {
	u, err := url.Parse(baseURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// place reports where the provider runs its models, by the configured region or, without one, by the base URL. regional: in a fixed
// region, which costs more for some models; region: the cloud's name of the region.
func place(preset, baseURL, configured string) (regional bool, region string) {
	h := host(baseURL)
	if rest, ok := strings.CutPrefix(h, mantle); ok {
		region, _, _ = strings.Cut(rest, ".")
		return false, region
	}
	switch preset {
	case "vertex":
		if configured != "" {
			return configured != "global", ""
		}
		location, ok := strings.CutSuffix(h, "-aiplatform.googleapis.com")
		return ok && location != "global" || strings.HasPrefix(h, "aiplatform.") && strings.HasSuffix(h, ".rep.googleapis.com"), ""
	case "openai":
		return len(h) == len("eu.api.openai.com") && strings.HasSuffix(h, ".api.openai.com"), ""
	case "bedrock":
		name, rest, _ := strings.Cut(strings.TrimPrefix(h, "bedrock-runtime."), ".")
		if strings.HasPrefix(rest, "amazonaws.com") {
			return false, name
		}
		return false, configured
	}
	return false, ""
}
