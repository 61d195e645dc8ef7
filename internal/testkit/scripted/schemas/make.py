"""Generates strict JSON schemas of the providers' requests from the typed parameters of their official Python SDKs. Unknown members
are not allowed. Run in an environment with e2e/clients/requirements.txt:

    python internal/testkit/scripted/schemas/make.py
"""

import json
import pathlib

import anthropic
import openai
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming, ResponseCreateParamsStreaming
from pydantic import TypeAdapter


def closed(node):
    """Returns the schema without titles and descriptions, and with unknown members forbidden."""
    if isinstance(node, list):
        return [closed(v) for v in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for name, value in node.items():
        if name in ("title", "description", "default") and not isinstance(value, dict):
            continue
        if name == "properties":
            out[name] = {k: closed(v) for k, v in value.items()}
        elif name == "$defs":
            out[name] = {k: closed(v) for k, v in value.items()}
        else:
            out[name] = closed(value)
    if "properties" in out and "additionalProperties" not in out:
        out["additionalProperties"] = False
    return out


for name, package, types in (
    ("chat", openai, CompletionCreateParamsNonStreaming | CompletionCreateParamsStreaming),
    ("responses", openai, ResponseCreateParamsNonStreaming | ResponseCreateParamsStreaming),
    ("messages", anthropic, MessageCreateParamsNonStreaming | MessageCreateParamsStreaming),
):
    schema = closed(TypeAdapter(types).json_schema())
    schema["$comment"] = f"{package.__name__} {package.__version__}, made by make.py"
    path = pathlib.Path(__file__).with_name(name + ".json")
    path.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n")
