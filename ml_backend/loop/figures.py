"""Figures: what pages show of a project, counted once a round and kept.

A maker reads the store and returns plain JSON; the dashboard reads that, so that a page of a
project with a million tasks costs one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from ml_backend.labelstudio.config import LabelConfig
from ml_backend.loop.learning_figures import learning_figure
from ml_backend.loop.people_figure import make_people
from ml_backend.loop.pool import Pool
from ml_backend.loop.progress_figures import progress_figure
from ml_backend.loop.project_map import map_figure
from ml_backend.store.dashboard_tables import Figure
from ml_backend.store.database import Store
from ml_backend.store.figures import kept_figure

__all__ = ["MAKERS", "FigureContext", "Maker", "keep_figures", "kept_figure"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class FigureContext:
    """What a maker of figures works with: the round's pool and configuration, and the store."""

    store: Store
    project_id: int
    config: LabelConfig
    pool: Pool
    now: datetime


Maker = Callable[[FigureContext], dict[str, Any]]

MAKERS: dict[str, Maker] = {
    "counts": lambda context: dict(context.store.projects.counts(context.project_id)),
    "map": map_figure,
    "progress": progress_figure,
    "learning": learning_figure,
    "people": make_people,
}
"""By the name under which `Figure` keeps it; the one place where figures join."""


def keep_figures(
    store: Store, project_id: int, config: LabelConfig, pool: Pool, now: datetime | None = None
) -> None:
    """Count all figures of a project and keep them; one that fails costs only itself."""
    context = FigureContext(store, project_id, config, pool, now or datetime.now(UTC))
    made: dict[str, dict[str, Any]] = {}
    for name, maker in MAKERS.items():
        try:
            # Here, and not where all are written: one that is no JSON (NaN is none to PostgreSQL)
            # must not take the others, or the round, with it.
            made[name] = json.loads(json.dumps(maker(context), allow_nan=False))
        except Exception:  # noqa: BLE001
            _log.exception("figure_failed", project=project_id, figure=name)
    with store.session() as session:
        for name, data in made.items():
            session.merge(Figure(project_id=project_id, name=name, at=context.now, data=data))
