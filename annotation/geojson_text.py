"""JSON text as QuPath writes it: with numbers that JSON does not know, and strings it can't encode.

Before 0.5, QuPath writes NaN and Infinity as bare words. They are replaced by strings of the same
length, so that every byte keeps its place, and put back part by part.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

__all__ = [
    "MARK",
    "SUBSTITUTED_NUMBERS",
    "UnreadableJSONError",
    "load_json",
    "make_plain",
    "restore_special_numbers",
    "substitute_special_numbers",
]

MARK = b"\x7f"
"""DEL opens every substitute; a text that holds one of its own is left alone."""

_MAX_DEPTH = 32
_WORD = re.compile(rb"-?Infinity|NaN")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_SUBSTITUTES = {
    b"NaN": b'"\x7f"',
    b"Infinity": b'"\x7f+inf "',
    b"-Infinity": b'"\x7f-inf  "',
}

SUBSTITUTED_NUMBERS = {
    substitute.decode().strip('"'): float(word) for word, substitute in _SUBSTITUTES.items()
}
"""What a substitute stands for once it has been decoded."""


class UnreadableJSONError(ValueError):
    """A part of the text that has to be left out; the message says why, in a few words."""


def substitute_special_numbers(text: bytes | bytearray) -> bytes | bytearray:
    """The text, copied only where a bare NaN or Infinity stands outside its strings."""
    if b"NaN" not in text and b"Infinity" not in text:
        return text
    if MARK in text:
        return text
    substituted: bytearray | None = None
    in_string = False
    seen = 0
    for word in _WORD.finditer(text):
        before = text[seen : word.start()]
        if b"\\" in before:
            before = _ESCAPE.sub(b"", before)
        in_string ^= before.count(b'"') % 2 == 1
        seen = word.end()
        if not in_string:
            if substituted is None:
                substituted = bytearray(text)
            substituted[word.start() : word.end()] = _SUBSTITUTES[word.group()]
    return text if substituted is None else substituted


def restore_special_numbers(text: bytes) -> bytes:
    """Undo :func:`substitute_special_numbers` on a part of its text."""
    if MARK not in text:
        return text
    for word, substitute in _SUBSTITUTES.items():
        text = text.replace(substitute, word)
    return text


def load_json(part: msgspec.Raw | bytes) -> Any:
    """Decode a part of a sound text in which special numbers may be substituted.

    Bare words come out as strings, ``"NaN"`` for one, until it is known whether a number may stand
    there.

    Raises
    ------
    UnreadableJSONError
        It is nested too deeply, or holds half a surrogate pair, or a number of thousands of digits.
    """
    text = restore_special_numbers(bytes(part))
    try:
        value = json.loads(text, parse_constant=str)
        if b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise UnreadableJSONError("nested too deeply") from error
    except UnicodeEncodeError as error:
        raise UnreadableJSONError("text that is not Unicode") from error
    except ValueError as error:
        raise UnreadableJSONError(f"malformed JSON: {error}") from error
    return value


def make_plain(value: Any, *, depth: int = 0) -> Any:
    """The value as strict JSON can hold it, whoever writes it down later.

    Raises
    ------
    UnreadableJSONError
        It is nested too deeply.
    """
    if depth > _MAX_DEPTH:
        raise UnreadableJSONError("nested too deeply")
    if isinstance(value, dict):
        return {key: make_plain(member, depth=depth + 1) for key, member in value.items()}
    if isinstance(value, list):
        return [make_plain(member, depth=depth + 1) for member in value]
    if isinstance(value, float) and math.isinf(value):  # a literal such as 1e999
        return "Infinity" if value > 0 else "-Infinity"
    return value
