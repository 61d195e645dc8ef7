"""Answers, line by line, what LiteLLM's cost_per_token makes of each question; the first line is its price file on one line.

Usage: litellm_oracle.py < questions. A question is {"provider", "model", "usage": {"input", "cache_read", "cache_write", "input_audio",
"output", "reasoning", "output_audio"}}, all counts apart from each other.
"""

import importlib.resources
import json
import os
import sys

os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'
os.environ['LITELLM_LOG'] = 'CRITICAL'

import litellm
from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper, Usage

litellm.suppress_debug_info = True
file = importlib.resources.files('litellm') / 'model_prices_and_context_window_backup.json'
print(json.dumps(json.loads(file.read_text())))
for line in sys.stdin:
    q = json.loads(line)
    n = q['usage']
    prompt = n['input'] + n['cache_read'] + n['cache_write'] + n['input_audio']
    completion = n['output'] + n['reasoning'] + n['output_audio']
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cache_read_input_tokens=n['cache_read'],
        cache_creation_input_tokens=n['cache_write'],
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=n['cache_read'],
            cache_creation_tokens=n['cache_write'],
            audio_tokens=n['input_audio'],
            text_tokens=n['input'],
        ),
        completion_tokens_details=CompletionTokensDetailsWrapper(
            text_tokens=n['output'], reasoning_tokens=n['reasoning'], audio_tokens=n['output_audio']
        ),
    )
    try:
        costs = litellm.cost_per_token(model=q['model'], custom_llm_provider=q['provider'], usage_object=usage)
    except Exception as e:
        print(json.dumps({'error': f'{type(e).__name__}: {str(e)[:100]}'}))
        continue
    print(json.dumps({'input': repr(costs[0]), 'output': repr(costs[1])}))
