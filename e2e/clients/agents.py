"""Has agents of LangChain talk to models whose backends speak another API than the caller: tools, streams, images, thinking and answers by a
schema. The tool is called $TURNS times. It prints what sdks.py prints; all calls of an agent ask for one model."""

import os

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from sdks import GATEWAY, KEY, TEXT, WEATHER, report, same
from translated import PNG

TURNS = int(os.environ["TURNS"])
CITY = WEATHER | {"title": "city", "description": "names it", "additionalProperties": False}


@tool
def weather(city: str) -> str:
    """Tells it."""
    same(city, "Oslo")
    return "rain"


def chat(model):
    return ChatOpenAI(model=model, base_url=GATEWAY + "/v1", api_key=KEY, max_retries=0, stream_usage=True, reasoning_effort="high")


def responses(model):
    return ChatOpenAI(
        model=model, base_url=GATEWAY + "/v1", api_key=KEY, max_retries=0, stream_usage=True, use_responses_api=True, output_version="responses/v1",
        store=False, include=["reasoning.encrypted_content"], reasoning={"effort": "high", "summary": "auto"},
    )


def messages(model):
    return ChatAnthropic(model=model, base_url=GATEWAY, api_key=KEY, max_retries=0, max_tokens=4000, thinking={"type": "adaptive"})


def talk(client, model):
    question = [{"type": "text", "text": "Where?"}, {"type": "image", "base64": PNG, "mime_type": "image/png"}]
    agent = create_agent(client(model), [weather], system_prompt="be kind")
    asked = {"messages": [{"role": "user", "content": question}]}
    whole = agent.invoke(asked)["messages"]
    streamed, pieces = None, []
    for mode, part in agent.stream(asked, stream_mode=["messages", "values"]):
        if mode == "values":
            streamed = part["messages"]
        elif part[0].type == "AIMessageChunk":
            pieces.append(part[0].text)
    same("".join(pieces))
    for answers in (whole, streamed):
        answers = [m for m in answers if m.type == "ai"]
        same(len(answers), TURNS + 1)
        same(answers[-1].text, TEXT)
        for m in answers:
            report(model, m.usage_metadata["input_tokens"], m.usage_metadata["output_tokens"])
    r = client(model).with_structured_output(CITY, method="json_schema", include_raw=True).invoke("Where?")
    same(r["parsed"], {"city": "Oslo"})
    report(model, r["raw"].usage_metadata["input_tokens"], r["raw"].usage_metadata["output_tokens"])


if __name__ == "__main__":
    for client, backends in ((chat, ["claude"]), (responses, ["claude", "chat", "gemini"]), (messages, ["chat", "gemini"])):
        for backend in backends:
            talk(client, f"on-{backend}-langchain-{client.__name__}")
