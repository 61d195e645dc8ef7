// Does what translated.py does, by the official SDKs of JavaScript and by the `ai` SDK.

import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const { GATEWAY, KEY } = process.env;
const TEXT = "Hello there";
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const WEATHER = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };

const TURNS = Number(process.env.TURNS);

const City = z.object({ city: z.string() });

let number = 0;
const report = (model, input, output) => console.log(JSON.stringify({ model, free: false, counts: { input, output } }));
const same = (got, want = TEXT) => {
	if (got !== want) throw new Error(`${JSON.stringify(got)} is not ${JSON.stringify(want)}`);
};

// calls is how many the provider makes in a turn.
const calls = (turn) => (turn % 2 ? 1 : 2);

async function chat(backend) {
	const client = new OpenAI({ baseURL: GATEWAY + "/v1", apiKey: KEY });
	const tools = [{ type: "function", function: { name: "weather", parameters: WEATHER } }];
	for (const streamed of [false, true]) {
		let turns = 0;
		const talk = [{ role: "user", content: [{ type: "text", text: "Where?" }, { type: "image_url", image_url: { url: "data:image/png;base64," + PNG } }] }];
		for (;;) {
			const options = { model: `on-${backend}-js-chat-${number++}`, messages: talk, tools, reasoning_effort: "high" };
			const r = streamed
				? await client.chat.completions.stream({ ...options, stream_options: { include_usage: true } }).finalChatCompletion()
				: await client.chat.completions.create(options);
			report(options.model, r.usage.prompt_tokens, r.usage.completion_tokens);
			const message = r.choices[0].message;
			if (streamed) delete message.parsed;
			talk.push(message);
			if (!message.tool_calls?.length) {
				same(message.content);
				break;
			}
			same(message.tool_calls.length, calls(turns++));
			for (const call of message.tool_calls) {
				same(JSON.parse(call.function.arguments).city, "Oslo");
				talk.push({ role: "tool", tool_call_id: call.id, content: "rain" });
			}
		}
		same(turns, TURNS);
	}
	const model = `on-${backend}-js-chat-${number++}`;
	const r = await client.chat.completions.parse({ model, messages: [{ role: "user", content: "Where?" }], response_format: zodResponseFormat(City, "city") });
	same(r.choices[0].message.parsed.city, "Oslo");
	report(model, r.usage.prompt_tokens, r.usage.completion_tokens);
}

async function responses(backend) {
	const client = new OpenAI({ baseURL: GATEWAY + "/v1", apiKey: KEY });
	const tools = [{ type: "function", name: "weather", parameters: WEATHER, strict: true }];
	for (const streamed of [false, true]) {
		let turns = 0;
		const talk = [{ role: "user", content: [{ type: "input_text", text: "Where?" }, { type: "input_image", image_url: "data:image/png;base64," + PNG, detail: "auto" }] }];
		for (;;) {
			const options = { model: `on-${backend}-js-responses-${number++}`, input: talk, tools, store: false, reasoning: { effort: "high", summary: "auto" }, include: ["reasoning.encrypted_content"] };
			const r = streamed ? await client.responses.stream(options).finalResponse() : await client.responses.create(options);
			same(r.status, "completed");
			report(options.model, r.usage.input_tokens, r.usage.output_tokens);
			talk.push(...r.output.map(({ parsed_arguments, ...item }) => item));
			const called = r.output.filter((i) => i.type === "function_call");
			if (!called.length) {
				same(r.output_text);
				break;
			}
			same(called.length, calls(turns++));
			for (const call of called.reverse()) {
				same(JSON.parse(call.arguments).city, "Oslo");
				talk.push({ type: "function_call_output", call_id: call.call_id, output: "rain" });
			}
		}
		same(turns, TURNS);
	}
	const model = `on-${backend}-js-responses-${number++}`;
	const r = await client.responses.parse({ model, input: "Where?", store: false, text: { format: zodTextFormat(City, "city") } });
	same(r.output_parsed.city, "Oslo");
	report(model, r.usage.input_tokens, r.usage.output_tokens);
}

async function messages(backend) {
	const client = new Anthropic({ baseURL: GATEWAY, authToken: KEY, apiKey: null });
	const tools = [{ name: "weather", input_schema: WEATHER }];
	for (const streamed of [false, true]) {
		let turns = 0;
		const talk = [{ role: "user", content: [{ type: "text", text: "Where?" }, { type: "image", source: { type: "base64", media_type: "image/png", data: PNG } }] }];
		for (;;) {
			const options = { model: `on-${backend}-js-messages-${number++}`, max_tokens: 900, messages: talk, tools, thinking: { type: "adaptive" } };
			const r = streamed ? await client.messages.stream(options).finalMessage() : await client.messages.create(options);
			report(options.model, r.usage.input_tokens, r.usage.output_tokens);
			talk.push({ role: "assistant", content: r.content });
			const called = r.content.filter((b) => b.type === "tool_use");
			if (!called.length) {
				same(r.content[0].text);
				break;
			}
			same(called.length, calls(turns++));
			for (const call of called) same(call.input.city, "Oslo");
			talk.push({ role: "user", content: called.reverse().map((c) => ({ type: "tool_result", tool_use_id: c.id, content: "rain" })) });
		}
		same(turns, TURNS);
	}
	const model = `on-${backend}-js-messages-${number++}`;
	const r = await client.messages.parse({ model, max_tokens: 900, messages: [{ role: "user", content: "Where?" }], output_config: { format: zodOutputFormat(City) } });
	same(r.parsed_output.city, "Oslo");
	report(model, r.usage.input_tokens, r.usage.output_tokens);
}

// The `ai` SDK asks for one model in all steps of a conversation, so that its calls are reported by step.
async function ai() {
	const openai = createOpenAI({ baseURL: GATEWAY + "/v1", apiKey: KEY });
	const compatible = createOpenAICompatible({ name: "gateway", baseURL: GATEWAY + "/v1", apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true });
	const anthropic = createAnthropic({ baseURL: GATEWAY + "/v1", authToken: KEY });
	const tools = { weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async () => "rain" }) };
	const thinks = {
		gateway: { reasoningEffort: "high" },
		openai: { store: false, include: ["reasoning.encrypted_content"], forceReasoning: true, reasoningEffort: "high", reasoningSummary: "auto" },
		anthropic: { thinking: { type: "adaptive" }, structuredOutputMode: "outputFormat" },
	};
	const question = [{ role: "user", content: [{ type: "text", text: "Where?" }, { type: "file", mediaType: "image/png", data: PNG }] }];
	for (const [name, model] of [
		["on-claude-ai-compatible", compatible("on-claude-ai-compatible")],
		["on-claude-ai-responses", openai.responses("on-claude-ai-responses")],
		["on-chat-ai-responses", openai.responses("on-chat-ai-responses")],
		["on-chat-ai-messages", anthropic("on-chat-ai-messages")],
		["on-gemini-ai-responses", openai.responses("on-gemini-ai-responses")],
		["on-gemini-ai-messages", anthropic("on-gemini-ai-messages")],
	]) {
		const options = { model, maxRetries: 0, providerOptions: thinks };
		const asked = { ...options, tools, messages: question, stopWhen: stepCountIs(TURNS + 2) };
		const whole = await generateText(asked);
		const stream = streamText(asked);
		await stream.consumeStream({ onError: (e) => { throw e; } });
		for (const r of [{ text: whole.text, steps: whole.steps }, { text: await stream.text, steps: await stream.steps }]) {
			same(r.text);
			same(r.steps.length, TURNS + 1);
			for (const [turn, step] of r.steps.entries()) {
				report(name, step.usage.inputTokens, step.usage.outputTokens);
				if (turn < TURNS) same(step.toolCalls.length, calls(turn));
				if (turn < TURNS && !name.includes("gemini")) same(step.reasoningText, `It rains, ${turn}.`);
			}
		}
		const city = await generateText({ ...options, prompt: "Where?", output: Output.object({ schema: City }) });
		same(city.output.city, "Oslo");
		report(name, city.usage.inputTokens, city.usage.outputTokens);
	}
}

await chat("claude");
await responses("claude");
for (const backend of ["chat", "gemini"]) {
	await responses(backend);
	await messages(backend);
}
await ai();
