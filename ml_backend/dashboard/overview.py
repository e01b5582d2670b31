"""What the page shows, read from the store in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy import select

from ml_backend.dashboard.chart import CurvePoint, learning_curve
from ml_backend.settings import Settings
from ml_backend.store.database import Store
from ml_backend.store.tables import Job, Project, Task, Tuning, Version

# Measures of quality in the order in which one is chosen for the curve.
MEASURES = {"macro_auc": "macro AUC", "accuracy": "accuracy"}
ROUNDS_SHOWN = 10
BROKEN_SHOWN = 5


@dataclass(frozen=True)
class Overview:
    """One connected project."""

    project: Project
    counts: dict[str, int]
    champion: Version | None
    quality: tuple[tuple[str, str], ...]
    rounds: tuple[Version, ...]
    curve: Markup
    measure: str
    broken: tuple[Task, ...]
    tuning: Tuning | None
    strategy: str
    link: str

    @property
    def share(self) -> float:
        """Part of the galaxies that have all the answers they need, in [0, 1]."""
        return self.counts["labeled"] / self.counts["tasks"] if self.counts["tasks"] else 0.0


def overviews(settings: Settings, store: Store) -> list[Overview]:
    """Return all connected projects as the page shows them, by id."""
    return [_overview(settings, store, project) for project in store.projects.listing()]


def job_details(job: Job) -> dict[str, Any]:
    """Return a job as JSON (times are ISO 8601 in UTC; progress is in [0, 1])."""
    return {
        "id": job.id,
        "kind": job.kind,
        "project": job.project_id,
        "state": job.state,
        "progress": job.progress,
        "message": job.message,
        "problem": job.problem,
        "attempts": job.attempts,
        "worker": job.worker,
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "heartbeat_at": _iso(job.heartbeat_at),
        "finished_at": _iso(job.finished_at),
    }


def quality_of(version: Version, measure: str) -> float | None:
    """Return one measure of a version: the mean over its controls, None where it is not known."""
    quality = version.quality or {}
    values = [quality.get(measure)]
    values += [item.get(measure) for item in quality.values() if isinstance(item, dict)]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return sum(numbers) / len(numbers) if numbers else None


def _overview(settings: Settings, store: Store, project: Project) -> Overview:
    with store.reading() as session:
        versions = list(
            session.scalars(
                select(Version)
                .where(Version.project_id == project.id)
                .order_by(Version.number.desc())
            )
        )
        broken = tuple(
            session.scalars(
                select(Task)
                .where(
                    Task.project_id == project.id,
                    Task.problem.is_not(None),
                    Task.removed.is_(False),
                )
                .order_by(Task.id)
                .limit(BROKEN_SHOWN)
            )
        )
    champion = next((v for v in versions if v.name == project.champion), None)
    measure = next(
        (name for name in MEASURES if any(quality_of(v, name) is not None for v in versions)),
        "accuracy",
    )
    browser = settings.label_studio_public_url or settings.label_studio_url
    return Overview(
        project=project,
        counts=store.projects.counts(project.id),
        champion=champion,
        quality=_quality_lines(champion),
        rounds=tuple(versions[:ROUNDS_SHOWN]),
        curve=learning_curve(_points(versions, measure), MEASURES[measure]),
        measure=MEASURES[measure],
        broken=broken,
        tuning=store.tunings.latest(project.id),
        strategy=str(store.projects.option(project, "strategy")).replace("_", " "),
        # The Data Manager, not the label stream: its deep link ignores the order of the queue.
        link=f"{browser}/projects/{project.id}/data",
    )


def _points(versions: Sequence[Version], measure: str) -> list[CurvePoint]:
    points = []
    for version in versions:
        quality = quality_of(version, measure)
        # Other kinds show an older version's heads again.
        if version.kind in ("trained", "tuned") and quality is not None:
            promoted = version.published_at is not None
            points.append(CurvePoint(version.votes, quality, promoted, version.name))
    return points


def _quality_lines(version: Version | None) -> tuple[tuple[str, str], ...]:
    if version is None:
        return ()
    known = ((label, quality_of(version, name)) for name, label in MEASURES.items())
    return tuple((label, f"{value:.3f}") for label, value in known if value is not None)


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time else None


def quality_labelled(version: Version, label: str) -> float | None:
    """Return the measure that the page calls `label`, None where it is not known."""
    names = {shown: name for name, shown in MEASURES.items()}
    return quality_of(version, names[label])
