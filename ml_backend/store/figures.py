"""Figures that a round has kept, for pages to read; nothing here is heavy to import."""

from __future__ import annotations

from ml_backend.store.dashboard_tables import Figure
from ml_backend.store.database import Store


def kept_figure(store: Store, project_id: int, name: str) -> Figure | None:
    """Return a figure as it was last kept; None before the first round."""
    with store.reading() as session:
        return session.get(Figure, (project_id, name))
