"""The order of the queue, for tasks as Label Studio lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select

from ml_backend.loop.drafts import champion_of
from ml_backend.store.database import Store
from ml_backend.store.tables import Ranking


def in_order(
    store: Store, project_id: int, listed: Iterable[Mapping[str, Any]], everything: bool
) -> list[Mapping[str, Any]]:
    """Return tasks as people are served them; those beyond the queue come last, by number.

    Parameters
    ----------
    store : Store
    project_id : int
    listed : iterable of dict
        Tasks of Label Studio.
    everything : bool
        Also those that need no more answers, at the end.
    """
    champion = champion_of(store, project_id)
    places: dict[int, int] = {}
    if champion is not None:
        with store.reading() as session:
            places = {
                row.task_id: row.place
                for row in session.execute(
                    select(Ranking.task_id, Ranking.place).where(Ranking.version == champion.name)
                )
            }
    tasks = [task for task in listed if everything or not task.get("is_labeled")]
    last = len(places)
    return sorted(
        tasks,
        key=lambda t: (bool(t.get("is_labeled")), places.get(t["id"], last), t["id"]),
    )
