"""What a report warns of; told from the store alone, so Label Studio is not asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ml_backend.dashboard.projects_page import MANY_BROKEN
from ml_backend.dashboard.report_period import Period
from ml_backend.dashboard.words import ago, grouped
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Version

READ_WITHIN = timedelta(days=1)
"""Votes that were not read back for longer than this are worth a word."""


@dataclass(frozen=True)
class Warned:
    """A fault and the one thing to do."""

    problem: str
    remedy: str = ""


def warnings(
    store: Store,
    project: Project,
    period: Period,
    counts: Mapping[str, int],
    counted_at: datetime | None,
    people: Mapping[str, Any] | None,
    queued: int,
) -> list[Warned]:
    """Return what is wrong with a project, the gravest first.

    Parameters
    ----------
    store : Store
    project : Project
    period : Period
    counts : mapping
        As `counts_of` gives them.
    counted_at : datetime or None
        When the figures of the report were counted; None: never.
    people : mapping or None
        The kept figure ``people``.
    queued : int
        Open tasks of the published queue.
    """
    found = []
    if not store.jobs.workers():
        found.append(
            Warned("No worker runs, so nothing is learnt or counted.", "Start galaxyloop work.")
        )
    if project.failures:
        jobs = store.jobs.listing(project.id, 20)
        why = next((job.problem for job in jobs if job.state == "failed" and job.problem), "")
        times = "The last round" if project.failures == 1 else f"{project.failures} rounds in a row"
        found.append(Warned(f"{times} failed. {why or ''}".strip(), "See the page Health."))
    found += _of_people(people)
    broken = counts.get("broken", 0)
    if broken:
        share = broken / max(counts.get("tasks", 0), 1)
        many = ", which is many" if share > MANY_BROKEN else ""
        found.append(
            Warned(
                f"{grouped(broken)} of {grouped(counts.get('tasks', 0))} images cannot be used "
                f"({100 * share:.1f} %){many}.",
                "The page Health says which, and why.",
            )
        )
    left = counts.get("tasks", 0) - counts.get("labeled", 0) - broken
    if project.champion and not queued and left > 0:
        found.append(
            Warned(
                f"The published queue is used up while {grouped(left)} galaxies are left: Label "
                "Studio serves these at random.",
                "The next round fills it; a larger GALAXYLOOP_TOP_K keeps it filled.",
            )
        )
    found += _of_rounds(store, project, period, counted_at)
    return found


def _of_people(people: Mapping[str, Any] | None) -> list[Warned]:
    anchored = (people or {}).get("anchoring") or {}
    said = str(anchored.get("warning") or "")
    if not said:
        return []
    return [Warned(said, "The page People compares answers with and without a suggestion.")]


def _of_rounds(
    store: Store, project: Project, period: Period, counted_at: datetime | None
) -> list[Warned]:
    found = []
    now = period.now.astimezone(UTC)
    read = project.reconciled_at
    if read is not None and now - read > READ_WITHIN:
        found.append(
            Warned(
                f"Votes were last read from Label Studio {ago(read, now)}.",
                "Run galaxyloop doctor: it looks whether Label Studio answers.",
            )
        )
    if counted_at is not None and counted_at < period.start:
        found.append(
            Warned(
                f"The figures were counted {ago(counted_at, now)}, before this period began: no "
                "round has ended since.",
                "A round runs after new votes; the page Health shows what keeps it.",
            )
        )
    with store.reading() as session:
        champion = session.get(Version, project.champion) if project.champion else None
    if champion is not None and champion.problem:
        found.append(Warned(f"The published version {champion.name}: {champion.problem}"))
    return found
