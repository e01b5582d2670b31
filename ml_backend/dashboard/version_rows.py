"""Rows of versions, tunings and deeds, as the page Models and its files show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from ml_backend.dashboard.measures import MEASURES, SMALLER_IS_BETTER, quality_of
from ml_backend.store.dashboard_tables import Deed
from ml_backend.store.database import Store
from ml_backend.store.tables import Tuning, Version

PER_PAGE = 25
KINDS = {
    "cold": "before the first vote",
    "trained": "trained on votes",
    "tuned": "trained, on a tuned LVM",
    "rerank": "a new order by the same heads",
    "rollback": "an earlier version brought back",
}
VERSION_COLUMNS = (
    "version", "kind", "state", "votes", *MEASURES, "seconds", "made", "published", "reason",
)  # fmt: skip
TUNING_COLUMNS = ("begun", "ended", "labelled galaxies", "state", "reason", "LVM", "from LVM")
DEEDS_IN_FILE = 10_000
DEED_COLUMNS = ("at", "account", "action", "subject", "details")


def version_count(store: Store, project_id: int) -> int:
    """Return how many versions a project has had."""
    with store.reading() as session:
        query = select(func.count()).where(Version.project_id == project_id)
        return int(session.scalar(query) or 0)


def versions_of(store: Store, project_id: int, page: int | None = None) -> list[Version]:
    """Return a page of versions (1 is the newest), or all; newest first."""
    query = select(Version).where(Version.project_id == project_id).order_by(Version.number.desc())
    if page is not None:
        query = query.limit(PER_PAGE).offset(PER_PAGE * (page - 1))
    with store.reading() as session:
        return list(session.scalars(query))


def kept_versions(store: Store, project_id: int) -> list[Version]:
    """Return the versions whose files are kept, newest first: they can be compared."""
    query = (
        select(Version)
        .where(Version.project_id == project_id, Version.on_disk)
        .order_by(Version.number.desc())
    )
    with store.reading() as session:
        return list(session.scalars(query))


def version_of(store: Store, project_id: int, name: str) -> Version | None:
    """Return a version of a project, None where it has none of this name."""
    with store.reading() as session:
        found = session.get(Version, name) if name.isprintable() and len(name) <= 200 else None
        return found if found is not None and found.project_id == project_id else None


def may_return(version: Version) -> bool:
    """Tell whether a version can be brought back (`check_rollback` says why not)."""
    return version.on_disk and version.state in ("retired", "rejected")


def reason_of(version: Version) -> str:
    """Return why a version was published or not."""
    return version.problem or str((version.gate or {}).get("reason", ""))


def verdict_of(version: Version) -> tuple[str, str]:
    """Return the gate's verdict and, apart from it, the figures behind it (may be empty)."""
    reason = reason_of(version)
    # Other problems have no figures behind them.
    verdict, colon, figures = reason.partition(": on all unseen votes ")
    return (verdict, f"On all unseen votes {figures}") if colon else (reason, "")


def version_row(version: Version) -> tuple[Any, ...]:
    """Return a version as a row of `VERSION_COLUMNS`."""
    return (
        version.name, version.kind, version.state, version.votes,
        *(quality_of(version, name) for name in MEASURES),
        version.seconds, version.created_at.isoformat(timespec="seconds"),
        version.published_at.isoformat(timespec="seconds") if version.published_at else None,
        reason_of(version),
    )  # fmt: skip


def tuning_row(tuning: Tuning) -> tuple[Any, ...]:
    """Return a try of tuning as a row of `TUNING_COLUMNS`."""
    ended = tuning.finished_at.isoformat(timespec="seconds") if tuning.finished_at else None
    return (
        tuning.created_at.isoformat(timespec="seconds"), ended, tuning.labels, tuning.state,
        tuning.reason, tuning.lvm_identity, tuning.base_identity,
    )  # fmt: skip


def deed_row(deed: Deed) -> tuple[Any, ...]:
    """Return an entry of the audit log as a row of `DEED_COLUMNS`."""
    at = deed.at.isoformat(timespec="seconds")
    return at, deed.account, deed.action, deed.subject, details_said(deed.details)


def details_said(details: Mapping[str, Any]) -> str:
    """Return details of a deed as text: ``from: v2, job: 5``."""
    return ", ".join(f"{name}: {value}" for name, value in details.items())


@dataclass(frozen=True)
class Measured:
    """One measure of one control, of one or two versions; `better` names the side (1, 2 or 0)."""

    control: str
    measure: str
    first: float | None
    second: float | None = None

    @property
    def better(self) -> int:
        """Which side is better, 0 where neither is or it is not known."""
        if self.first is None or self.second is None or self.first == self.second:
            return 0
        smaller = 1 if self.first < self.second else 2
        lower = self.measure in SMALLER_IS_BETTER or self.measure.endswith(("loss", "error"))
        return smaller if lower else 3 - smaller


def measured(
    first: Mapping[str, Any] | None, second: Mapping[str, Any] | None = None
) -> list[Measured]:
    """Return all measures of two versions' quality (by control), side by side."""
    one, two = dict(_flat(first or {})), dict(_flat(second or {}))
    keys = list(one) + [key for key in two if key not in one]
    return [Measured(*key, one.get(key), two.get(key)) for key in keys]


def _flat(quality: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    for control, figures in quality.items():
        for name, value in figures.items() if isinstance(figures, dict) else ():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield (control, name), float(value)
