"""What the vignettes of irrCAC print, read out of their text; for tests only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CALL = re.compile(
    r"^\s*(?P<of>[a-z0-9.]+)\.(?P<form>table|dist|raw)\((?P<data>[\w.]+)"
    r"(?:,\s*weights\s*=\s*(?P<weights>[^)]*\)?))?\)(?P<rest>.*)$"
)
COEFFICIENT = {
    "kappa2": "cohen_mean",
    "scott2": "fleiss",
    "fleiss.kappa": "fleiss",
    "gwet.ac1": "gwet",
    "bp2": "brennan_prediger",
    "bp.coeff": "brennan_prediger",
    "krippen2": "krippendorff",
    "krippen.alpha": "krippendorff",
    "conger.kappa": "conger",
    "pa2": "percent",
    "pa.coeff": "percent",
}
"""Our name of what each function of irrCAC computes."""


@dataclass(frozen=True)
class Printed:
    """One coefficient as a vignette prints it.

    ``pa`` is the percent agreement that it rests on, where it is printed.
    """

    form: str
    data: str
    weights: str
    name: str
    value: str
    se: str
    low: float
    high: float
    pa: float | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.form, self.data, self.weights, self.name


def digits(text: str) -> float:
    """Half a unit of the last digit printed."""
    return 0.5001 * 10.0 ** -len(text.partition(".")[2])


def printed_coefficients(path: Path) -> Iterator[Printed]:
    """Every call that is followed by its output."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        call = CALL.match(line)
        if call is None:
            continue
        columns = _output(lines[number + 1 :])
        value, se = (
            next(columns[name] for name in names if name in columns)
            for names in (("coeff.val", "coeff"), ("coeff.se", "stderr"))
        )
        limits = columns.get("conf.int") or columns["coeff.ci"]
        low, high = (float(part) for part in limits.strip("()").split(","))
        yield Printed(
            form=call["form"],
            data=call["data"],
            weights="quadratic" if "quadratic" in (call["weights"] or "") else "nominal",
            name=COEFFICIENT[call["of"]],
            value=value,
            se=se,
            low=low,
            high=high,
            pa=float(columns["pa"]) if "pa" in columns else None,
        )


def _output(lines: list[str]) -> dict[str, str]:
    """The single row of a data frame by column; R goes on below where a line is full."""
    columns: dict[str, str] = {}
    shown: list[str] = []
    for line in lines:
        if not line.startswith("#> ") or line.startswith("#> $weights") or line.strip() == "#>":
            break
        if not line.startswith("#> $est"):
            shown.append(line[2:])
    for header, row in zip(shown[::2], shown[1::2], strict=True):
        names = header.split()
        cells = row.split()[1:]  # without R's row number
        if "coeff.name" in names:  # names have spaces
            head = len(cells) - len(names) + 1
            cells = [" ".join(cells[:head]), *cells[head:]]
        columns.update(zip(names, cells, strict=True))
    return columns


def printed_weights(path: Path) -> dict[str, NDArray[np.float64]]:
    """The matrices of agreement weights that ``<name>.weights(1:3)`` prints, by name."""
    text = path.read_text(encoding="utf-8")
    found = {}
    for name, block in re.findall(r"^\s*(\w+)\.weights\(1:3\)\n((?:#>.*\n)+)", text, re.MULTILINE):
        rows = [line.split("]", 1)[1].split() for line in block.splitlines()[1:]]
        found[name] = np.array(rows, dtype=float)
    return found
