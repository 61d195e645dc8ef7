"""Holds conversations over models whose backends speak another API than the caller, by the official SDKs of Python: tools, streams, images,
thinking and answers by a schema. The tool is called $TURNS times. It prints what sdks.py prints. Each call asks for a model of its own: its
number is in the name."""

import itertools
import os

import anthropic
import openai

from sdks import GATEWAY, KEY, TEXT, WEATHER, report, same

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = WEATHER | {"additionalProperties": False}
TURNS = int(os.environ["TURNS"])
numbers = itertools.count()


def chat_on(backend):
    client = openai.OpenAI(base_url=GATEWAY + "/v1", api_key=KEY)
    name = lambda: f"on-{backend}-chat-{next(numbers)}"  # noqa: E731
    tools = [{"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": WEATHER}}]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG, "detail": "low"}}
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": [{"type": "text", "text": "Where?"}, image]}]
    for streamed in (False, True):
        talk = list(messages)
        for turn in range(TURNS + 1):
            options = {"model": name(), "messages": talk, "tools": tools, "max_tokens": 900, "reasoning_effort": "high", "user": "someone"}
            if streamed:
                with client.chat.completions.stream(**options, stream_options={"include_usage": True}) as stream:
                    for _ in stream:
                        pass
                    r = stream.get_final_completion()
            else:
                r = client.chat.completions.create(**options)
            same(r.model, options["model"])
            report(r.model, r.usage.prompt_tokens, r.usage.completion_tokens)
            message = r.choices[0].message
            talk.append(message.model_dump(exclude_none=True, exclude={"parsed"}) if streamed else message)
            if not message.tool_calls:
                same(message.content)
                same(r.choices[0].finish_reason, "stop")
                break
            same(r.choices[0].finish_reason, "tool_calls")
            for call in message.tool_calls:
                same(call.function.arguments.replace(" ", ""), '{"city":"Oslo"}')
                talk.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
        same(turn, TURNS)
    schema = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    model = name()
    r = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Where?"}], response_format=schema)
    same(r.choices[0].message.content, '{"city":"Oslo"}')
    report(model, r.usage.prompt_tokens, r.usage.completion_tokens)


def responses_on(backend, include=("reasoning.encrypted_content",)):
    client = openai.OpenAI(base_url=GATEWAY + "/v1", api_key=KEY)
    name = lambda: f"on-{backend}-responses-{next(numbers)}"  # noqa: E731
    tools = [{"type": "function", "name": "weather", "description": "tells it", "parameters": CITY, "strict": True}]
    image = {"type": "input_image", "image_url": "data:image/png;base64," + PNG, "detail": "auto"}
    for streamed in (False, True):
        talk = [{"role": "user", "content": [{"type": "input_text", "text": "Where?"}, image]}]
        for turn in range(TURNS + 1):
            options = {
                "model": name(), "input": talk, "tools": tools, "store": False, "instructions": "be kind", "reasoning": {"effort": "high", "summary": "auto"},
                "include": list(include),
            }
            if streamed:
                with client.responses.stream(**options) as stream:
                    for _ in stream:
                        pass
                    r = stream.get_final_response()
            else:
                r = client.responses.create(**options)
            same(r.status, "completed")
            report(options["model"], r.usage.input_tokens, r.usage.output_tokens)
            talk += [i.model_dump(exclude_none=True, exclude={"parsed_arguments", "status"}) for i in r.output if include or i.type != "reasoning"]
            calls = [i for i in r.output if i.type == "function_call"]
            if not calls:
                same(r.output_text)
                break
            for call in calls:
                same(call.arguments.replace(" ", ""), '{"city":"Oslo"}')
                talk.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
        same(turn, TURNS)
    model = name()
    r = client.responses.create(model=model, input="Where?", store=False, text={"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}})
    same(r.output_text, '{"city":"Oslo"}')
    report(model, r.usage.input_tokens, r.usage.output_tokens)


def messages_on(backend):
    client = anthropic.Anthropic(base_url=GATEWAY, auth_token=KEY, api_key=None)
    name = lambda: f"on-{backend}-messages-{next(numbers)}"  # noqa: E731
    tools = [{"name": "weather", "description": "tells it", "input_schema": WEATHER, "cache_control": {"type": "ephemeral"}}]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    for streamed in (False, True):
        talk = [{"role": "user", "content": [{"type": "text", "text": "Where?"}, image]}]
        for turn in range(TURNS + 1):
            options = {
                "model": name(), "max_tokens": 4000, "system": "be kind", "messages": talk, "tools": tools, "thinking": {"type": "adaptive"},
                "metadata": {"user_id": "someone"},
            }
            if streamed:
                with client.messages.stream(**options) as stream:
                    for _ in stream:
                        pass
                    r = stream.get_final_message()
            else:
                r = client.messages.create(**options)
            same(r.model, options["model"])
            report(r.model, r.usage.input_tokens, r.usage.output_tokens)
            talk.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in r.content]})
            calls = [b for b in r.content if b.type == "tool_use"]
            if not calls:
                same(r.content[0].text)
                same(r.stop_reason, "end_turn")
                break
            same(r.stop_reason, "tool_use")
            for call in calls:
                same(call.input, {"city": "Oslo"})
            talk.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": "rain"} for c in calls]})
        same(turn, TURNS)
    model = name()
    r = client.messages.create(
        model=model, max_tokens=4000, messages=[{"role": "user", "content": "Where?"}], output_config={"format": {"type": "json_schema", "schema": CITY}}
    )
    same(r.content[0].text, '{"city":"Oslo"}')
    report(model, r.usage.input_tokens, r.usage.output_tokens)
    try:
        client.messages.create(model=name(), max_tokens=5, messages=[{"role": "user", "content": "hi"}], inference_geo="eu")
    except anthropic.BadRequestError as e:
        assert "inference_geo" in e.message, e.message
    else:
        raise AssertionError("what cannot be carried is not refused")


if __name__ == "__main__":
    chat_on("claude")
    responses_on("claude")
    for backend in ("bedrock", "vertex"):
        chat_on(backend)
        responses_on(backend)
    for backend in ("chat", "gemini"):
        responses_on(backend)
        messages_on(backend)
    responses_on("gemini", include=())
