"""Writes the price data of the package genai-prices as JSON.

Usage: extract.py <the package's data.py>. The file is run with recorders in place of the package's types, so that nothing
of the package needs to be installed. Decimals become strings, so that no number passes through a float.
"""

import builtins
import datetime
import json
import sys


class Names(dict):
    """The names that the file uses: each type becomes a function that returns its arguments."""

    def __missing__(self, name):
        if name == 'Decimal':
            return str
        if name == 'Tier':
            return lambda start, price: {'start': str(start), 'price': price}
        if name.startswith('Clause'):
            kind = {'StartsWith': 'starts_with', 'EndsWith': 'ends_with'}.get(name[6:], name[6:].lower())
            return lambda **arguments: {kind: next(iter(arguments.values()))}
        if name in ('StartDateConstraint', 'TimeOfDateConstraint'):
            kind = {'StartDateConstraint': 'start_date', 'TimeOfDateConstraint': 'time_of_date'}[name]
            return lambda **arguments: {'type': kind, **arguments}
        if hasattr(builtins, name):
            raise KeyError(name)
        return lambda **arguments: arguments


def text(value):
    if isinstance(value, datetime.time):
        return value.isoformat().replace('+00:00', 'Z')
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(repr(value))


with open(sys.argv[1]) as source:
    lines = [line for line in source if not line.startswith('from ')]
names = Names(__annotations__={})
exec(compile(''.join(lines), sys.argv[1], 'exec'), {}, names)
json.dump(names['providers'], sys.stdout, default=text)
