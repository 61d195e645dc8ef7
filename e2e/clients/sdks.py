"""Calls the gateway at $GATEWAY with the key $KEY by the official SDKs of Python, as docs/clients.md configures them.

Each call asks for a model of its own, named after the call, and prints a line of JSON: the model and the counts that the SDK showed, or
none where it showed none. Calls that are free have no counts and "free".
"""

import asyncio
import io
import json
import os

GATEWAY, KEY = os.environ["GATEWAY"], os.environ["KEY"]
TEXT = "Hello there"


def report(model, input=None, output=None, free=False, **counts):
    if input is not None:
        counts["input"] = int(input)
    if output is not None:
        counts["output"] = int(output)
    print(json.dumps({"model": model, "free": free, "counts": counts}), flush=True)


def same(got, want=TEXT):
    assert got == want, f"{got!r} is not {want!r}"


WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def openai_sdk():
    import openai

    os.environ.update(OPENAI_BASE_URL=GATEWAY + "/v1", OPENAI_API_KEY=KEY)
    client = openai.OpenAI()
    ask = [{"role": "user", "content": "Hello"}]

    r = client.chat.completions.create(model="openai-chat", messages=ask)
    same(r.choices[0].message.content)
    report("openai-chat", r.usage.prompt_tokens, r.usage.completion_tokens)

    chunks = list(client.chat.completions.create(model="openai-chat-stream", messages=ask, stream=True))
    same("".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
    assert all("usage" not in c.model_fields_set and c.choices for c in chunks), "a trace of usage that nobody asked for"
    report("openai-chat-stream")

    usage = None
    for c in client.chat.completions.create(model="openai-chat-usage", messages=ask, stream=True, stream_options={"include_usage": True}):
        usage = c.usage or usage
    report("openai-chat-usage", usage.prompt_tokens, usage.completion_tokens)

    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    r = client.chat.completions.create(model="openai-tool-call", messages=ask, tools=tools)
    call = r.choices[0].message.tool_calls[0]
    same(call.function.name, "weather")
    report("openai-tool-call", r.usage.prompt_tokens, r.usage.completion_tokens)
    done = ask + [r.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    r = client.chat.completions.create(model="openai-tool-result", messages=done, tools=tools)
    same(r.choices[0].message.content)
    report("openai-tool-result", r.usage.prompt_tokens, r.usage.completion_tokens)

    r = client.completions.create(model="openai-completion", prompt="Hello")
    same(r.choices[0].text)
    report("openai-completion", r.usage.prompt_tokens, r.usage.completion_tokens)

    r = client.responses.create(model="openai-response", input="Hello")
    same(r.output_text)
    report("openai-response", r.usage.input_tokens, r.usage.output_tokens)

    for e in client.responses.create(model="openai-response-stream", input="Hello", stream=True):
        if e.type == "response.completed":
            same(e.response.output_text)
            report("openai-response-stream", e.response.usage.input_tokens, e.response.usage.output_tokens)

    same(client.responses.input_tokens.count(model="openai-count", input="Hello").input_tokens, 11)
    report("openai-count", free=True)

    r = client.embeddings.create(model="openai-embedding", input=["Hello"])
    same(r.data[0].embedding, [0.5, 0.25])
    report("openai-embedding", r.usage.prompt_tokens)

    assert not client.moderations.create(model="openai-moderation", input="Hello").results[0].flagged
    report("openai-moderation", free=True)

    r = client.images.generate(model="openai-image", prompt="a cat")
    same(r.data[0].b64_json, "aGk=")
    report("openai-image")

    sound = io.BytesIO(b"RIFF" + b"\0" * 100)
    sound.name = "a.wav"
    same(client.audio.transcriptions.create(model="openai-transcription", file=sound).text)
    report("openai-transcription")

    same(client.audio.speech.create(model="openai-speech", voice="alloy", input="Hello").read(), b"no sound")
    report("openai-speech", input_characters=5)

    assert "openai-known" in [m.id for m in client.models.list()]
    same(client.models.retrieve("openai-known").id, "openai-known")

    os.environ.update(AZURE_OPENAI_ENDPOINT=GATEWAY, AZURE_OPENAI_API_KEY=KEY)
    del os.environ["OPENAI_BASE_URL"]
    azure = openai.AzureOpenAI(api_version="2025-04-01-preview")
    r = azure.chat.completions.create(model="openai-azure", messages=ask)
    report("openai-azure", r.usage.prompt_tokens, r.usage.completion_tokens)
    r = azure.responses.create(model="openai-azure-response", input="Hello")
    report("openai-azure-response", r.usage.input_tokens, r.usage.output_tokens)

    async def streamed():
        client = openai.AsyncOpenAI(base_url=GATEWAY + "/v1/")
        stream = await client.chat.completions.create(model="openai-async", messages=ask, stream=True)
        same("".join([c.choices[0].delta.content or "" async for c in stream if c.choices]))
        report("openai-async")

    asyncio.run(streamed())

    try:
        openai.OpenAI(base_url=GATEWAY + "/v1", api_key="sk-not-of-the-gateway").chat.completions.create(model="openai-refused", messages=ask)
        raise AssertionError("a wrong key was taken")
    except openai.AuthenticationError as e:
        assert "Authentication Error" in str(e) and e.request_id, e
    try:
        client.chat.completions.create(model="no-such-model", messages=ask)
        raise AssertionError("a model that there is not was called")
    except openai.NotFoundError as e:
        assert "no-such-model" in str(e), e


def anthropic_sdk():
    import anthropic

    os.environ.update(ANTHROPIC_BASE_URL=GATEWAY, ANTHROPIC_API_KEY=KEY)
    client = anthropic.Anthropic()
    ask = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}

    r = client.messages.create(model="claude-message", **ask)
    same(r.content[0].text)
    report("claude-message", r.usage.input_tokens, r.usage.output_tokens)

    with client.messages.stream(model="claude-stream", **ask) as stream:
        same("".join(stream.text_stream))
        usage = stream.get_final_message().usage
    report("claude-stream", usage.input_tokens, usage.output_tokens)

    tools = [{"name": "weather", "input_schema": WEATHER}]
    r = client.messages.create(model="claude-tool-call", tools=tools, **ask)
    same(r.content[0].input, {"city": "Oslo"})
    report("claude-tool-call", r.usage.input_tokens, r.usage.output_tokens)
    result = [{"type": "tool_result", "tool_use_id": r.content[0].id, "content": "rain"}]
    done = ask["messages"] + [{"role": "assistant", "content": r.content}, {"role": "user", "content": result}]
    r = client.messages.create(model="claude-tool-result", tools=tools, max_tokens=100, messages=done)
    same(r.content[0].text)
    report("claude-tool-result", r.usage.input_tokens, r.usage.output_tokens)

    r = client.beta.messages.create(model="claude-beta", betas=["files-api-2025-04-14"], **ask)
    report("claude-beta", r.usage.input_tokens, r.usage.output_tokens)

    same(client.messages.count_tokens(model="claude-count", messages=ask["messages"]).input_tokens, 11)
    report("claude-count", free=True)

    # Pages of two, as the SDK follows them.
    names = [m.id for m in client.models.list(limit=2)]
    assert len(names) == len(set(names)) > 2 and "claude-known" in names, names
    back = [m.id for m in client.models.list(limit=2, before_id=names[-1])]
    same(sorted(back), names[:-1])
    same(client.models.retrieve("claude-known").id, "claude-known")

    try:
        anthropic.Anthropic(api_key="sk-not-of-the-gateway").messages.create(model="claude-refused", **ask)
        raise AssertionError("a wrong key was taken")
    except anthropic.AuthenticationError as e:
        assert "Authentication Error" in str(e) and e.request_id, e


def google_sdk():
    from google import genai
    from google.genai import errors, types

    os.environ.update(GOOGLE_GEMINI_BASE_URL=GATEWAY, GEMINI_API_KEY=KEY)
    client = genai.Client()

    r = client.models.generate_content(model="gemini-generate", contents="Hello")
    same(r.text)
    report("gemini-generate", r.usage_metadata.prompt_token_count, r.usage_metadata.candidates_token_count)

    text, usage = "", None
    for c in client.models.generate_content_stream(model="gemini-stream", contents="Hello"):
        text, usage = text + (c.text or ""), c.usage_metadata or usage
    same(text)
    report("gemini-stream", usage.prompt_token_count, usage.candidates_token_count)

    same(client.models.count_tokens(model="gemini-count", contents="Hello").total_tokens, 11)
    report("gemini-count", free=True)

    r = client.models.embed_content(model="gemini-embed", contents=["Hello"])
    same(r.embeddings[0].values, [0.5, 0.25])
    report("gemini-embed", 11)

    names = [m.name for m in client.models.list(config={"page_size": 2})]
    assert len(names) == len(set(names)) > 2 and "models/gemini-known" in names, names
    same(client.models.get(model="gemini-known").name, "models/gemini-known")

    vertex = genai.Client(vertexai=True, api_key=KEY, http_options=types.HttpOptions(base_url=GATEWAY))
    r = vertex.models.generate_content(model="gemini-vertex", contents="Hello")
    same(r.text)
    report("gemini-vertex", r.usage_metadata.prompt_token_count, r.usage_metadata.candidates_token_count)

    wrong = genai.Client(api_key="sk-not-of-the-gateway")
    try:
        wrong.models.generate_content(model="gemini-refused", contents="Hello")
        raise AssertionError("a wrong key was taken")
    except errors.ClientError as e:
        assert e.code == 401 and "Authentication Error" in str(e), e


def mistral_sdk():
    from mistralai.client import Mistral, errors

    client = Mistral(server_url=GATEWAY, api_key=KEY)
    ask = [{"role": "user", "content": "Hello"}]

    r = client.chat.complete(model="mistral-chat", messages=ask)
    same(r.choices[0].message.content)
    report("mistral-chat", r.usage.prompt_tokens, r.usage.completion_tokens)

    text, usage = "", None
    for e in client.chat.stream(model="mistral-stream", messages=ask):
        text, usage = text + (e.data.choices[0].delta.content or ""), e.data.usage or usage
    same(text)
    report("mistral-stream", usage.prompt_tokens, usage.completion_tokens)

    r = client.fim.complete(model="mistral-fim", prompt="def", suffix="end")
    same(r.choices[0].message.content)
    report("mistral-fim", r.usage.prompt_tokens, r.usage.completion_tokens)

    r = client.embeddings.create(model="mistral-embed", inputs=["Hello"])
    report("mistral-embed", r.usage.prompt_tokens)

    r = client.ocr.process(model="mistral-ocr", document={"type": "document_url", "document_url": "https://x.example/a.pdf"})
    report("mistral-ocr", pages=r.usage_info.pages_processed)

    assert "mistral-known" in [m.id for m in client.models.list().data]

    try:
        Mistral(server_url=GATEWAY, api_key="sk-not-of-the-gateway").chat.complete(model="mistral-refused", messages=ask)
        raise AssertionError("a wrong key was taken")
    except errors.MistralError as e:
        assert e.status_code == 401 and "Authentication Error" in str(e), e


def cohere_sdk():
    import cohere

    os.environ.update(CO_API_URL=GATEWAY, CO_API_KEY=KEY)
    client = cohere.ClientV2()
    ask = [{"role": "user", "content": "Hello"}]

    r = client.chat(model="cohere-chat", messages=ask)
    same(r.message.content[0].text)
    report("cohere-chat", r.usage.billed_units.input_tokens, r.usage.billed_units.output_tokens)

    text = ""
    for e in client.chat_stream(model="cohere-stream", messages=ask):
        if e.type == "content-delta":
            text += e.delta.message.content.text
        if e.type == "message-end":
            report("cohere-stream", e.delta.usage.billed_units.input_tokens, e.delta.usage.billed_units.output_tokens)
    same(text)

    r = client.embed(model="cohere-embed", texts=["Hello"], input_type="search_query", embedding_types=["float"])
    report("cohere-embed", r.meta.billed_units.input_tokens)
    r = client.rerank(model="cohere-rerank", query="Hello", documents=["a", "b"])
    report("cohere-rerank", search_units=int(r.meta.billed_units.search_units))
    assert "cohere-known" in [m.name for m in client.models.list().models]

    old = cohere.Client()
    r = old.chat(model="cohere-v1-chat", message="Hello")
    same(r.text)
    report("cohere-v1-chat", r.meta.billed_units.input_tokens, r.meta.billed_units.output_tokens)
    text = ""
    for e in old.chat_stream(model="cohere-v1-stream", message="Hello"):
        if e.event_type == "text-generation":
            text += e.text
        if e.event_type == "stream-end":
            report("cohere-v1-stream", e.response.meta.billed_units.input_tokens, e.response.meta.billed_units.output_tokens)
    same(text)
    r = old.embed(model="cohere-v1-embed", texts=["Hello"], input_type="search_query")
    report("cohere-v1-embed", r.meta.billed_units.input_tokens)
    r = old.rerank(model="cohere-v1-rerank", query="Hello", documents=["a", "b"])
    report("cohere-v1-rerank", search_units=int(r.meta.billed_units.search_units))

    try:
        cohere.ClientV2(api_key="sk-not-of-the-gateway").chat(model="cohere-refused", messages=ask)
        raise AssertionError("a wrong key was taken")
    except cohere.UnauthorizedError as e:
        assert "Authentication Error" in str(e), e


def groq_sdk():
    import groq

    os.environ.update(GROQ_BASE_URL=GATEWAY, GROQ_API_KEY=KEY)
    client = groq.Groq()
    ask = [{"role": "user", "content": "Hello"}]

    r = client.chat.completions.create(model="groq-chat", messages=ask)
    same(r.choices[0].message.content)
    report("groq-chat", r.usage.prompt_tokens, r.usage.completion_tokens)

    same("".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(model="groq-stream", messages=ask, stream=True)))
    report("groq-stream")

    same(client.audio.transcriptions.create(model="groq-transcription", file=("a.wav", b"RIFF" + b"\0" * 100)).text)
    report("groq-transcription")
    assert "groq-known" in [m.id for m in client.models.list().data]

    try:
        groq.Groq(api_key="sk-not-of-the-gateway").chat.completions.create(model="groq-refused", messages=ask)
        raise AssertionError("a wrong key was taken")
    except groq.AuthenticationError as e:
        assert "Authentication Error" in str(e), e


def ollama_sdk():
    import ollama

    client = ollama.Client(host=GATEWAY, headers={"Authorization": "Bearer " + KEY})
    ask = [{"role": "user", "content": "Hello"}]

    r = client.chat(model="ollama-chat", messages=ask, options={"num_predict": 50})
    same(r.message.content)
    report("ollama-chat", r.prompt_eval_count, r.eval_count)

    text = ""
    for c in client.chat(model="ollama-stream", messages=ask, stream=True):
        text += c.message.content
        if c.done:
            report("ollama-stream", c.prompt_eval_count, c.eval_count)
    same(text)

    r = client.generate(model="ollama-generate", prompt="Hello")
    report("ollama-generate", r.prompt_eval_count, r.eval_count)
    r = client.embed(model="ollama-embed", input="Hello")
    report("ollama-embed", r.prompt_eval_count)
    same(client.embeddings(model="ollama-embeddings", prompt="Hello").embedding, [0.5, 0.25])
    report("ollama-embeddings")  # its answer has no usage: an estimate
    assert "ollama-known" in [m.model for m in client.list().models]
    assert client.show("ollama-known").capabilities


if __name__ == "__main__":
    for sdk in (openai_sdk, anthropic_sdk, google_sdk, mistral_sdk, cohere_sdk, groq_sdk, ollama_sdk):
        if os.environ.get("ONLY", sdk.__name__) == sdk.__name__:
            sdk()
