"""Answers, line by line, what genai-prices makes of each question: a call to price, or a base URL to recognise.

Usage: genai_prices_oracle.py < questions. A question is a JSON object: {"provider", "model", "ms", "tier", "usage"} or {"url"}.
"""

import json
import sys
from datetime import datetime, timezone
from decimal import Decimal

from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

snapshot = get_snapshot()
for line in sys.stdin:
    q = json.loads(line, parse_float=Decimal)
    if 'url' in q:
        try:
            print(json.dumps({'provider': snapshot.find_provider(None, None, q['url']).id}))
        except LookupError:
            print(json.dumps({'provider': ''}))
        continue
    usage = Usage(**{k: Decimal(v) if '.' in v else int(v) for k, v in q['usage'].items()})
    tier = q['tier']
    context = {key: tier for key in ('service_tier', 'processing', 'speed')} if tier else None
    try:
        r = calc_price(
            usage,
            q['model'],
            provider_id=q['provider'],
            genai_request_timestamp=datetime.fromtimestamp(q['ms'] / 1000, timezone.utc),
            price_context=context,
        )
    except (LookupError, ValueError) as e:
        print(json.dumps({'error': repr(e), 'total': '0'}))
        continue
    keys = [k for k, v in r.model_price.__dict__.items() if v is not None]
    print(json.dumps({'provider': r.provider.id, 'model': r.model.id, 'total': format(r.total_price, 'f'), 'keys': keys}))
