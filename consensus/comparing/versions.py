"""Agreement under every version of a protocol, side by side where classes are comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy.orm import Session

from annotation.protocol_versions import changes_between, versions_of
from annotation.tables import ProtocolVersion
from consensus.agreement import Agreement
from consensus.comparing.arms import ArmComparison, compare
from consensus.comparing.comparisons import Method
from consensus.comparing.version_arms import VersionArms, other_tasks, version_arms
from consensus.errors import NoRatingsError
from consensus.statistics.findings import AMONG_RATERS
from consensus.statistics.paired import rated_clusters
from consensus.statistics.statistic import Statistic
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import StudyRatings, rate

__all__ = ["Resampling", "compare_versions"]


@dataclass(frozen=True)
class Resampling:
    """How intervals come about; see :func:`consensus.agreement.agreement`."""

    bootstrap: int
    seed: int = 0
    interval: str = "expanded"

    def method(self, weights: str) -> Method:
        """How figures are computed by these weights."""
        return Method(weights, self.bootstrap, self.seed, self.interval)


def compare_versions(
    session: Session,
    name: str,
    resampling: Resampling,
    *,
    as_of_pull: int | None = None,
    include_derived: bool = False,
) -> dict[str, Any]:
    """The versions of a protocol: what each changed, and how far raters agreed under each.

    Every version under which something counts is held against the one before it that has
    something too. Figures are of all patients of a version, their difference of the patients that
    were read under both.

    Returns
    -------
    dict
        ``protocol``, ``versions`` and ``pairs``, of plain numbers and text.
    """
    rows = versions_of(session, name)
    rated: list[StudyRatings] = []
    versions = []
    for before, row in zip([None, *rows], rows, strict=False):
        try:
            found = rate(
                session,
                row,
                as_of_pull=as_of_pull,
                include_derived=include_derived,
                wanted=Wanted(geometry=False),
            )
        except NoRatingsError:
            versions.append(_version(row, before, None))
            continue
        rated.append(found)
        versions.append(_version(row, before, found))
    return {
        "protocol": name,
        "versions": versions,
        "pairs": [_pair(first, second, resampling) for first, second in pairwise(rated)],
    }


def _version(
    row: ProtocolVersion, before: ProtocolVersion | None, rated: StudyRatings | None
) -> dict[str, Any]:
    changes = [] if before is None else changes_between(before, row)
    return {
        "version": row.version,
        "sha256": row.sha256,
        "against": None if before is None else before.version,
        "changes": [change.to_dict() for change in changes],
        "status": "undefined: no read counts" if rated is None else "ok",
        "slides": 0 if rated is None else len(rated.ratings.slide_names),
        "raters": [] if rated is None else list(rated.ratings.raters),
    }


def _pair(first: StudyRatings, second: StudyRatings, resampling: Resampling) -> dict[str, Any]:
    names = {"first": first.row.version, "second": second.row.version}
    differ = other_tasks(first.protocol, second.protocol)
    if differ is not None:
        return {**names, "status": f"not comparable: {differ}", "classes": [], "coefficients": {}}
    side_by_side = version_arms(first, second)
    figures = _Figures(side_by_side, resampling)
    return {
        **names,
        "status": "ok",
        "weights": side_by_side.weights,
        "cluster_unit": second.ratings.cluster_unit,
        "shared_clusters": figures.shared,
        "classes": [*figures.of_classes(), *_lone(side_by_side)],
        "coefficients": figures.coefficients(),
        "notes": list(side_by_side.notes),
    }


class _Figures:
    """The figures of two versions, and of the second less the first."""

    def __init__(self, versions: VersionArms, resampling: Resampling) -> None:
        self._versions = versions
        method = resampling.method(versions.weights)
        self._found: tuple[Agreement, Agreement] = (
            method.agreement(versions.arms[0].ratings),
            method.agreement(versions.arms[1].ratings),
        )
        first, second = (arm.ratings for arm in versions.arms)
        self._without = ""
        self.shared = 0
        self._difference: ArmComparison | None = None
        if first.cluster_unit != second.cluster_unit:
            self._without = (
                f"{first.cluster_unit}s in one version, {second.cluster_unit}s in the other"
            )
            return
        self.shared = len(rated_clusters(first) & rated_clusters(second))
        if not self.shared:
            self._without = f"no {first.cluster_unit} was read under both"
            return
        self._difference = compare(
            *versions.arms,
            bootstrap=resampling.bootstrap,
            seed=resampling.seed,
            interval=resampling.interval,
        )

    def of_classes(self) -> list[dict[str, Any]]:
        """Of each comparable class, in the second version's order."""
        apart = self._difference
        former = {name: old for old, name in self._versions.pairs.items()}
        return [
            {
                "first": former[name],
                "second": name,
                "status": "ok",
                "figures": {
                    kind: self._beside(
                        [one.per_class[name][kind] for one in self._found],
                        None if apart is None else apart.per_class[name][kind],
                    )
                    for kind in AMONG_RATERS
                },
            }
            for name in self._versions.arms[1].ratings.classes
            if name in former
        ]

    def coefficients(self) -> dict[str, Any]:
        """Over all classes, where all of them are comparable."""
        apart = self._difference
        if self._versions.lone:
            return {}
        return {
            name: self._beside(
                [one.coefficients[name] for one in self._found],
                None if apart is None else apart.coefficients[name],
            )
            for name in self._found[0].coefficients
        }

    def _beside(
        self, figures: Sequence[Statistic], difference: Statistic | None
    ) -> dict[str, dict[str, object]]:
        first, second = figures
        if difference is None:
            difference = Statistic.undefined(self._without)
        return {
            "first": first.to_dict(),
            "second": second.to_dict(),
            "difference": difference.to_dict(),
        }


def _lone(versions: VersionArms) -> list[dict[str, Any]]:
    """The classes that are not comparable, each with the reason."""
    return [
        {
            "first": one.first,
            "second": one.second,
            "status": f"not comparable: {one.reason}",
            "figures": {},
        }
        for one in versions.lone
    ]
