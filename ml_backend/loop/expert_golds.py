"""Answers of experts are taken as known: each becomes a gold of its task."""

from __future__ import annotations

from collections.abc import Collection

from ml_backend.loop.golds import EXPERT, KnownAnswer, answers_voted, make_known
from ml_backend.store.database import Store
from ml_backend.store.tables import Vote


def take_experts(store: Store, project_id: int, experts: Collection[int]) -> int:
    """Make the experts' answers the known ones; return how many changed.

    The latest answer of any expert counts. A known answer of another source (flagged in Label
    Studio, or from a file) stands above it. What an expert takes back, or a person who is an
    expert no more has said, is known no more; their votes stay what they are.

    Parameters
    ----------
    store : Store
    project_id : int
    experts : collection of int
        Label Studio's numbers of the experts.
    """
    wanted: dict[tuple[int, str], KnownAnswer] = {}
    with store.session() as session:
        if experts:
            by_expert = Vote.annotator.in_(sorted(experts))
            wanted = answers_voted(session, project_id, by_expert)
        return make_known(session, project_id, EXPERT, wanted)
