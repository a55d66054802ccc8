"""Rows over a slide, and stripes of them with about as many edges each.

A row is about as high as edges are long, so that an edge reaches into one or two of them, and the
edges near it stand in the same ones.

Shapes: V vertices and edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.faces.outlines import Outlines
from consensus.ragged import spread

__all__ = ["Rows", "Stripe"]

ROW_BITS = 14
"""Bits for a row within its stripe, where the key that sorts edges has to name one."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stripe:
    """Edges that reach into the rows from ``first`` to below ``stop``, and those rows' place."""

    edge: Ints
    first: int
    stop: int
    x_low: int
    y_low: int
    height_bits: int


@dataclass(frozen=True)
class Rows:
    """Rows over the slide, and the edges of each stripe of them."""

    order: Ints
    bounds: Ints
    lines: Ints
    x_low: int
    y_low: int
    height_bits: int

    @classmethod
    def of(cls, outlines: Outlines, stripe_edges: int) -> Rows:
        """Choose rows about as high as edges are long, and stripes of about as many edges."""
        x, y = outlines.x, outlines.y
        x_low, y_low = int(x.min()) - 1, int(y.min()) - 1
        span = int(y.max()) + 2 - y_low
        length = 0.0
        for block, after in outlines.blocks():
            length += float(np.abs(x[after] - x[block]).sum() + np.abs(y[after] - y[block]).sum())
        least = max(round(length / len(y)), span >> (ROW_BITS + 4), 4)
        height_bits = least.bit_length() - 1
        n_rows = (span >> height_bits) + 1
        first, last = np.empty((2, len(y)), dtype=np.int32)
        for block, after in outlines.blocks():
            low, high = np.minimum(y[block], y[after]), np.maximum(y[block], y[after])
            first[block] = (low - 1 - y_low) >> height_bits
            last[block] = (high + 1 - y_low) >> height_bits
        n_stripes = max(1, round(len(y) / stripe_edges), -(-n_rows >> ROW_BITS))
        # Lines between stripes, where so many edges have begun.
        begun = np.cumsum(np.bincount(first, minlength=n_rows))
        inner = np.searchsorted(begun, len(y) * np.arange(1, n_stripes) / n_stripes) + 1
        wide = np.arange(0, n_rows, (1 << ROW_BITS) - 1)
        lines = np.unique(np.concatenate([[0], inner, wide[1:], [n_rows]]))
        lines = lines[lines <= n_rows]
        stripe_of_row = np.repeat(np.arange(len(lines) - 1), np.diff(lines)).astype(np.int32)
        from_stripe, to_stripe = stripe_of_row[first], stripe_of_row[last]
        n_more = to_stripe - from_stripe
        over = np.flatnonzero(n_more)
        again, step = spread(n_more[over])
        again = over[again]
        stripe = np.concatenate([from_stripe, from_stripe[again] + 1 + step])
        narrow = stripe.astype(np.uint16) if len(lines) < 1 << 16 else stripe  # sorts by radix
        order = np.argsort(narrow, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(stripe, minlength=len(lines) - 1))])
        copies = np.flatnonzero(order >= len(y))
        order[copies] = again[order[copies] - len(y)]
        return cls(order, bounds, lines, x_low, y_low, height_bits)

    def stripes(self) -> Iterator[Stripe]:
        """One after the other."""
        for number in range(len(self.lines) - 1):
            edge = self.order[self.bounds[number] : self.bounds[number + 1]]
            first, stop = int(self.lines[number]), int(self.lines[number + 1])
            yield Stripe(edge, first, stop, self.x_low, self.y_low, self.height_bits)
