"""JSON text as QuPath writes it: with numbers that JSON does not know.

Before 0.5, QuPath writes NaN and Infinity as bare words. They are replaced by strings of the same
length, so that every byte keeps its place, and put back part by part.
"""

from __future__ import annotations

import heapq
import json
import math
import re
from collections.abc import Iterator
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
_decoder = json.JSONDecoder(parse_constant=str)
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
    if (b"NaN" not in text and b"Infinity" not in text) or MARK in text:
        return text
    substituted: bytearray | None = None
    in_string = False
    seen = 0
    for start in heapq.merge(_find_all(text, b"NaN"), _find_all(text, b"Infinity")):
        in_string ^= _count_quotes(text, seen, start) % 2 == 1
        seen = start
        if in_string:
            continue
        if substituted is None:
            substituted = bytearray(text)
        word = b"NaN" if text[start : start + 1] == b"N" else b"Infinity"
        end = start + len(word)
        if word == b"Infinity" and text[start - 1 : start] == b"-":
            start, word = start - 1, b"-Infinity"
        substituted[start:end] = _SUBSTITUTES[word]
    return text if substituted is None else substituted


def _find_all(text: bytes | bytearray, word: bytes) -> Iterator[int]:
    place = text.find(word)
    while place >= 0:
        yield place
        place = text.find(word, place + len(word))


def _count_quotes(text: bytes | bytearray, start: int, end: int) -> int:
    """Quotes that open or close a string in a stretch that does not begin behind a backslash."""
    if text.find(b"\\", start, end) < 0:
        return text.count(b'"', start, end)
    return _ESCAPE.sub(b"", text[start:end]).count(b'"')


def restore_special_numbers(text: bytes) -> bytes:
    """Undo :func:`substitute_special_numbers` on a part of its text."""
    if MARK not in text:
        return text
    for word, substitute in _SUBSTITUTES.items():
        text = text.replace(substitute, word)
    return text


def load_json(part: msgspec.Raw | bytes, *, substituted: bool = False) -> Any:
    """Decode a part of a sound text.

    Parameters
    ----------
    substituted
        Special numbers were substituted in the text. They come out as strings, ``"NaN"`` for one,
        until it is known whether a number may stand there.

    Raises
    ------
    UnreadableJSONError
        It is nested too deeply, is not UTF-8, or holds a number of thousands of digits.
    """
    text = bytes(part)
    if substituted:
        text = restore_special_numbers(text)
    try:
        value = _decoder.decode(text.decode())
    except RecursionError as error:
        raise UnreadableJSONError("nested too deeply") from error
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
