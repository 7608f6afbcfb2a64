"""JSON without spaces, by an encoder that is made once: making one, as `json` does each time, takes longer than a
line of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder
from typing import Any


def compact(*, allow_nan: bool = True) -> Callable[[Any], bytes]:
    """Encodes what `json.dumps` does, to the same bytes but for spaces; a `ValueError` for NaN where that is not
    allowed, a `TypeError` for what JSON cannot say.
    """
    general = json.JSONEncoder(separators=(",", ":"), allow_nan=allow_nan)
    make: Any = getattr(encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return lambda value: general.encode(value).encode()
    made = make(None, general.default, encoder.encode_basestring_ascii, None, ":", ",", False, False, allow_nan)
    return lambda value: "".join(made(value, 0)).encode()
