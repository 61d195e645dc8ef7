// Command golang does what translated.py does, by the official SDKs of Go. It is a module of its own, so that the gateway's has not their
// dependencies.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

const (
	text  = "Hello there"
	image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
	data  = "data:image/png;base64," + image
)

var (
	gateway, key = os.Getenv("GATEWAY"), os.Getenv("KEY")
	city         = map[string]any{
		"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}, "additionalProperties": false,
	}
	turns, number int
)

func main() {
	turns, _ = strconv.Atoi(os.Getenv("TURNS"))
	ctx := context.Background()
	err := chat(ctx, "claude")
	for _, backend := range []string{"claude", "chat", "gemini"} {
		err = errors.Join(err, respond(ctx, backend))
	}
	for _, backend := range []string{"chat", "gemini"} {
		err = errors.Join(err, messages(ctx, backend))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// name returns a model of its own for a call.
func name(backend, api string) string {
	number++
	return fmt.Sprintf("on-%s-go-%s-%d", backend, api, number)
}

func report(model string, input, output int64) {
	fmt.Printf(`{"model":%q,"counts":{"input":%d,"output":%d}}`+"\n", model, input, output)
}

func same[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("%v is not %v", got, want)
	}
	return nil
}

// called checks what the tool is called with.
func called(arguments string) error {
	return same(strings.ReplaceAll(arguments, " ", ""), `{"city":"Oslo"}`)
}

func chat(ctx context.Context, backend string) error {
	client := openai.NewClient(option.WithBaseURL(gateway+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))
	for _, streamed := range []bool{false, true} {
		talk := []openai.ChatCompletionMessageParamUnion{
			openai.SystemMessage("be kind"),
			openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
				openai.TextContentPart("Where?"), openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: data}),
			}),
		}
		for turn := 0; ; turn++ {
			p := openai.ChatCompletionNewParams{
				Model: name(backend, "chat"), Messages: talk, ReasoningEffort: shared.ReasoningEffortHigh,
				Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "weather", Parameters: city})},
			}
			r, err := complete(ctx, &client, p, streamed)
			if err != nil {
				return err
			}
			report(p.Model, r.Usage.PromptTokens, r.Usage.CompletionTokens)
			m := r.Choices[0].Message
			talk = append(talk, m.ToParam())
			if len(m.ToolCalls) == 0 {
				if err := errors.Join(same(m.Content, text), same(turn, turns)); err != nil {
					return err
				}
				break
			}
			for _, call := range m.ToolCalls {
				if err := called(call.Function.Arguments); err != nil {
					return err
				}
				talk = append(talk, openai.ToolMessage("rain", call.ID))
			}
		}
	}
	model := name(backend, "chat")
	r, err := client.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Where?")},
		ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "city", Schema: city, Strict: openai.Bool(true)},
		}},
	})
	if err != nil {
		return err
	}
	report(model, r.Usage.PromptTokens, r.Usage.CompletionTokens)
	return called(r.Choices[0].Message.Content)
}

func complete(ctx context.Context, client *openai.Client, p openai.ChatCompletionNewParams, streamed bool) (*openai.ChatCompletion, error) {
	if !streamed {
		return client.Chat.Completions.New(ctx, p)
	}
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(ctx, p)
	defer stream.Close()
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		if !all.AddChunk(stream.Current()) {
			return nil, errors.New("a chunk does not go with those before it")
		}
	}
	return &all.ChatCompletion, stream.Err()
}

func respond(ctx context.Context, backend string) error {
	client := openai.NewClient(option.WithBaseURL(gateway+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))
	for _, streamed := range []bool{false, true} {
		picture := responses.ResponseInputContentParamOfInputImage(responses.ResponseInputImageDetailAuto)
		picture.OfInputImage.ImageURL = openai.String(data)
		talk := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage(
			responses.ResponseInputMessageContentListParam{responses.ResponseInputContentParamOfInputText("Where?"), picture}, responses.EasyInputMessageRoleUser)}
		for turn := 0; ; turn++ {
			p := responses.ResponseNewParams{
				Model: name(backend, "responses"), Input: responses.ResponseNewParamsInputUnion{OfInputItemList: talk}, Store: openai.Bool(false),
				Instructions: openai.String("be kind"), Tools: []responses.ToolUnionParam{responses.ToolParamOfFunction("weather", city, true)},
				Reasoning: shared.ReasoningParam{Effort: shared.ReasoningEffortHigh, Summary: shared.ReasoningSummaryAuto},
				Include:   []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent},
			}
			r, err := answer(ctx, &client, p, streamed)
			if err != nil {
				return err
			}
			report(p.Model, r.Usage.InputTokens, r.Usage.OutputTokens)
			var results responses.ResponseInputParam
			for _, item := range r.Output {
				talk = append(talk, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
				if call := item.AsFunctionCall(); item.Type == "function_call" {
					if err := called(call.Arguments); err != nil {
						return err
					}
					result := responses.ResponseInputItemParamOfFunctionCallOutput("rain")
					result.OfFunctionCallOutput.CallID = param.NewOpt(call.CallID)
					results = append(results, result)
				}
			}
			if len(results) == 0 {
				if err := errors.Join(same(r.OutputText(), text), same(turn, turns)); err != nil {
					return err
				}
				break
			}
			talk = append(talk, results...)
		}
	}
	model := name(backend, "responses")
	r, err := client.Responses.New(ctx, responses.ResponseNewParams{
		Model: model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Where?")}, Store: openai.Bool(false),
		Text: responses.ResponseTextConfigParam{Format: responses.ResponseFormatTextConfigUnionParam{
			OfJSONSchema: &responses.ResponseFormatTextJSONSchemaConfigParam{Name: "city", Schema: city, Strict: openai.Bool(true)},
		}},
	})
	if err != nil {
		return err
	}
	report(model, r.Usage.InputTokens, r.Usage.OutputTokens)
	return called(r.OutputText())
}

func answer(ctx context.Context, client *openai.Client, p responses.ResponseNewParams, streamed bool) (*responses.Response, error) {
	if !streamed {
		return client.Responses.New(ctx, p)
	}
	stream := client.Responses.NewStreaming(ctx, p)
	defer stream.Close()
	var last *responses.Response
	for stream.Next() {
		if e := stream.Current(); e.Type == "response.completed" {
			last = &e.Response
		}
	}
	if last == nil {
		return nil, errors.Join(errors.New("the stream has no completed answer"), stream.Err())
	}
	return last, stream.Err()
}

func messages(ctx context.Context, backend string) error {
	client := anthropic.NewClient(anthropicoption.WithBaseURL(gateway), anthropicoption.WithAPIKey(key), anthropicoption.WithMaxRetries(0))
	schema := anthropic.ToolInputSchemaParam{Properties: city["properties"], Required: []string{"city"}}
	for _, streamed := range []bool{false, true} {
		talk := []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Where?"), anthropic.NewImageBlockBase64("image/png", image))}
		for turn := 0; ; turn++ {
			p := anthropic.MessageNewParams{
				Model: anthropic.Model(name(backend, "messages")), MaxTokens: 4000, Messages: talk, System: []anthropic.TextBlockParam{{Text: "be kind"}},
				Tools:    []anthropic.ToolUnionParam{anthropic.ToolUnionParamOfTool(schema, "weather")},
				Thinking: anthropic.ThinkingConfigParamUnion{OfAdaptive: &anthropic.ThinkingConfigAdaptiveParam{}},
			}
			r, err := say(ctx, &client, p, streamed)
			if err != nil {
				return err
			}
			report(string(p.Model), r.Usage.InputTokens, r.Usage.OutputTokens)
			talk = append(talk, r.ToParam())
			var results []anthropic.ContentBlockParamUnion
			for _, b := range r.Content {
				if b.Type == "tool_use" {
					if err := called(string(b.Input)); err != nil {
						return err
					}
					results = append(results, anthropic.NewToolResultBlock(b.ID, "rain", false))
				}
			}
			if len(results) == 0 {
				if err := errors.Join(same(r.Content[0].Text, text), same(turn, turns)); err != nil {
					return err
				}
				break
			}
			talk = append(talk, anthropic.NewUserMessage(results...))
		}
	}
	model := name(backend, "messages")
	r, err := client.Messages.New(ctx, anthropic.MessageNewParams{
		Model: anthropic.Model(model), MaxTokens: 4000, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Where?"))},
		OutputConfig: anthropic.OutputConfigParam{Format: anthropic.JSONOutputFormatParam{Schema: city}},
	})
	if err != nil {
		return err
	}
	report(model, r.Usage.InputTokens, r.Usage.OutputTokens)
	return called(r.Content[0].Text)
}

func say(ctx context.Context, client *anthropic.Client, p anthropic.MessageNewParams, streamed bool) (*anthropic.Message, error) {
	if !streamed {
		return client.Messages.New(ctx, p)
	}
	stream := client.Messages.NewStreaming(ctx, p)
	defer stream.Close()
	var all anthropic.Message
	for stream.Next() {
		if err := all.Accumulate(stream.Current()); err != nil {
			return nil, err
		}
	}
	return &all, stream.Err()
}
