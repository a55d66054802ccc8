"""A table of a TOML document, read key by key; whatever is wrong with it is named."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import NoReturn

from annotation.errors import ProtocolError

__all__ = ["TomlTable"]

_WRITTEN_AS = {str: 'text in quotes ("...")', bool: "true or false"}


class TomlTable:
    """One table, whose keys are taken one after the other; `finish` refuses what is left over.

    Parameters
    ----------
    origin
        The document, as error messages call it.
    where
        The table within it, as error messages call it: `[dispute]`; empty for the top.
    content
        Keys and values as the TOML reader gave them.
    known
        The keys that may stand here.
    """

    def __init__(
        self, origin: str, where: str, content: Mapping[str, object], known: Iterable[str]
    ) -> None:
        self.origin = origin
        self.where = where
        self.content = content
        self.known = tuple(known)
        for key in content:
            if key not in self.known:
                near = difflib.get_close_matches(key.casefold(), self.known, n=1)
                hint = (
                    f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(self.known)}"
                )
                self.refuse(f"unknown key {key!r}{f' in {where}' if where else ''}; {hint}", key)

    def refuse(self, message: str, key: str | None = None) -> NoReturn:
        """Raise `message` about this document."""
        raise ProtocolError(f"{self.origin}: {message}", origin=self.origin, key=key)

    def _name(self, key: str) -> str:
        return f"{self.where} {key}".strip()

    def _wrong(self, key: str, wanted: str) -> NoReturn:
        value = self.content[key]
        shown = repr(value) if isinstance(value, str | int | float | bool) else _kind(value)
        self.refuse(f"{self._name(key)} is {shown[:80]}; write {wanted}", key)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that isn't blank; without `default` the key is required."""
        if key not in self.content:
            if default is None:
                self.refuse(f"{self._name(key)} is missing; add {key} = ...", key)
            return default
        value = self.content[key]
        if not isinstance(value, str):
            self._wrong(key, _WRITTEN_AS[str])
        if not value.strip():
            self._wrong(key, "text that isn't blank")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """Return one of `choices`."""
        value = self.text(key, default)
        if value not in choices:
            self._wrong(key, " or ".join(repr(choice) for choice in choices))
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return a list of texts of which none is blank or stands twice."""
        if key not in self.content:
            return default
        value = self.content[key]
        if not isinstance(value, list):
            self._wrong(key, 'a list of texts (["...", "..."])')
        for number, entry in enumerate(value):
            if not isinstance(entry, str) or not entry.strip():
                self.refuse(
                    f"entry {number + 1} of {self._name(key)} is "
                    f"{entry if isinstance(entry, str | int | float) else _kind(entry)!r}; "
                    "write text that isn't blank",
                    key,
                )
            if entry in value[:number]:
                self.refuse(f"{self._name(key)} lists {entry!r} twice; keep one", key)
        return tuple(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            self._wrong(key, _WRITTEN_AS[bool])
        return value

    def whole(self, key: str, *, at_least: int, default: int) -> int:
        """Return a whole number."""
        value = self.content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            self._wrong(key, f"a whole number, {at_least} or more")
        return value

    def order(self, key: str) -> int | None:
        """Return a whole number of any sign, or None where the key is absent."""
        value = self.content.get(key)
        if key in self.content and (isinstance(value, bool) or not isinstance(value, int)):
            self._wrong(key, "a whole number, or leave it out for an unordered class")
        return value if isinstance(value, int) else None

    def number(
        self, key: str, wanted: str, *, low: float, high: float = math.inf, default: float
    ) -> float:
        """Return a finite number with `low <= number <= high`; `wanted` says so in words."""
        value = self.content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong(key, wanted)
        if not (math.isfinite(value) and low <= value <= high):
            self._wrong(key, wanted)
        return float(value)

    def table(self, key: str, known: Iterable[str]) -> TomlTable:
        """Return the table `[key]`, empty where it is absent."""
        value = self.content.get(key, {})
        where = f"[{self.where[1:-1]}.{key}]" if self.where else f"[{key}]"
        if not isinstance(value, dict):
            self._wrong(key, f"a table ({where})")
        return TomlTable(self.origin, where, value, known)

    def tables(self, key: str, known: Iterable[str]) -> list[TomlTable]:
        """Return the tables `[[key]]`, of which there must be one at least."""
        value = self.content.get(key)
        if key in self.content and not isinstance(value, list):
            self._wrong(key, f"a list of tables ([[{key}]])")
        if not value or not isinstance(value, list):
            self.refuse(f"{key} is missing; add a table [[{key}]]", key)
        if not all(isinstance(entry, dict) for entry in value):
            self._wrong(key, f"a list of tables ([[{key}]])")
        known = tuple(known)
        return [
            TomlTable(self.origin, f"[[{key}]] {number + 1}", entry, known)
            for number, entry in enumerate(value)
        ]


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    return f"a {type(value).__name__}"
