"""Which polygons cover each face, found by walking from face to face.

Crossing a chain leaves or enters the polygons that it bounds, and no other. Outside a connected
component of chains a polygon of another component covers all of it or nothing, so one point of the
component tells; from there the faces are reached one ring of neighbours after the other.

Shapes: Y cycles, G components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.faces.arrangement import Arrangement
from consensus.faces.enclosure import Rings
from consensus.faces.outlines import GRID_PX
from consensus.faces.turns import Ints
from consensus.ragged import spread

__all__ = ["covering_polygons"]


def covering_polygons(arrangement: Arrangement) -> tuple[Ints, Ints]:
    """Which polygon covers the face inside of which cycle.

    Returns
    -------
    polygon, cycle : shape (n_pairs,)
    """
    cycle, bounds = arrangement.cycle, arrangement.bounds
    n_polygons = int(arrangement.outlines.polygon.max(initial=-1)) + 1
    by_cycle = _Grouped.of(cycle, np.arange(len(cycle)), arrangement.n_cycles)
    entered = _Grouped.of(bounds.half_chain, arrangement.outlines.polygon[bounds.ring], len(cycle))
    reached = np.zeros(arrangement.n_cycles, dtype=bool)
    level = arrangement.outer_cycle
    reached[level] = True
    component, polygon = _around_components(arrangement, n_polygons)
    found = [(polygon, level[component])]
    inside = _Grouped.of(component, polygon, len(level))
    while len(level):
        # The chains around what was reached last, and what lies on their other side.
        place, half_chain = by_cycle.members(level)
        across = cycle[half_chain ^ 1]
        new = ~reached[across]
        place, half_chain, across = place[new], half_chain[new], across[new]
        beyond, first = np.unique(across, return_index=True)
        reached[beyond] = True
        left, entering = half_chain[first], half_chain[first] ^ 1
        owners, parts, signs = zip(
            *(
                (*group.members(of), sign)
                for group, of, sign in (
                    (inside, place[first], 1),
                    (entered, entering, 1),
                    (entered, left, -1),
                )
            ),
            strict=True,
        )
        sign = np.repeat(signs, [len(part) for part in parts])
        number, polygon = _where_positive(
            np.concatenate(owners), np.concatenate(parts), sign, n_polygons
        )
        level, inside = beyond, _Grouped.of(number, polygon, len(beyond))
        found.append((polygon, beyond[number]))
    polygons, cycles = zip(*found, strict=True)
    return np.concatenate(polygons), np.concatenate(cycles)


class _Grouped:
    """Values by group, the groups numbered from 0."""

    def __init__(self, values: Ints, start: Ints) -> None:
        self._values, self._start = values, start

    @classmethod
    def of(cls, group: Ints, values: Ints, n_groups: int) -> _Grouped:
        """Sort values by group, unless they are."""
        if not (np.diff(group) >= 0).all():
            values = values[np.argsort(group)]
        start = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n_groups))])
        return cls(values, start)

    def members(self, groups: Ints) -> tuple[Ints, Ints]:
        """The values of each of some groups, and the place of their group among these."""
        first = self._start[groups]
        place, step = spread(self._start[groups + 1] - first)
        return place, self._values[first[place] + step]


def _where_positive(
    owner: Ints, polygon: Ints, sign: NDArray[np.int64], n_polygons: int
) -> tuple[Ints, Ints]:
    """Pairs of owner and polygon whose signs add up to more than nothing, sorted."""
    key = owner * n_polygons + polygon
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if len(first) == 0:
        return key, key
    positive = key[first[np.add.reduceat(sign[order], first) > 0]]
    return positive // n_polygons, positive % n_polygons


def _around_components(arrangement: Arrangement, n_polygons: int) -> tuple[Ints, Ints]:
    """Pairs of a component and a polygon that covers the face around it."""
    none = np.empty(0, dtype=np.int64)
    outlines, outer = arrangement.outlines, arrangement.outer_cycle
    if len(outer) < 2:
        return none, none
    # Any vertex of a component will do.
    vertex = np.zeros(len(outer), dtype=np.int64)
    of_chain = arrangement.component[arrangement.origin[::2]]
    vertex[of_chain] = arrangement.first
    of_ring = np.empty(len(outlines.polygon), dtype=np.int64)
    of_ring[arrangement.bounds.ring] = of_chain[arrangement.bounds.half_chain >> 1]
    x_px, y_px = outlines.x * GRID_PX, outlines.y * GRID_PX
    component, ring = Rings(x_px, y_px, outlines.start).around(
        x_px[vertex], y_px[vertex], lambda point, ring: of_ring[ring] != point
    )
    sign = np.where(outlines.shell[ring], 1, -1)
    return _where_positive(component, outlines.polygon[ring], sign, n_polygons)
