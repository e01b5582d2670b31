"""Checked answers: which of people's choices are right, by known answers or by the others.

What an answer is held against never contains it: the crowd's posterior would, and would also have
the model's word in it, which people may have followed. So the others' majority decides, all with
one voice each.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ml_backend.loop.peers import Peers
from ml_backend.loop.people_votes import PeopleVotes
from ml_backend.store.crowd_tables import Gold
from ml_backend.store.database import Store

Signs = npt.NDArray[np.int8]


def by_others(votes: PeopleVotes, peers: Peers) -> Signs:
    """Return whether each answer is what most of the others said, [v].

    1 or 0; -1 where fewer than two others answered, or no answer has more than half of them.
    """
    right = np.full(len(votes), -1, np.int8)
    right[peers.row] = peers.majority()
    return right


def by_known(store: Store, project_id: int, votes: PeopleVotes) -> Signs:
    """Return whether each answer is the known one, [v]; -1 where none is known.

    The answer that a known one comes from is not checked.
    """
    right = np.full(len(votes), -1, np.int8)
    with store.reading() as session:
        golds = session.execute(
            select(Gold.task_id, Gold.control, Gold.labels, Gold.annotation_id).where(
                Gold.project_id == project_id, Gold.answer.is_(None)
            )
        ).all()
    places = {name: at for at, name in enumerate(votes.controls)}
    codes = {answer: code for code, answer in enumerate(votes.answers)}
    known = sorted(
        (gold.task_id, places[gold.control], gold.annotation_id or 0,
         codes.get(json.dumps(sorted(gold.labels)), -1))
        for gold in golds
        if gold.control in places
    )  # fmt: skip
    if not known or not len(votes):
        return right
    task, control, source, answer = np.array(known, np.int64).T
    keys, mine = (
        tasks * len(places) + controls
        for tasks, controls in ((task, control), (votes.task, votes.control))
    )
    at = np.searchsorted(keys, mine).clip(0, len(keys) - 1)
    told = (keys[at] == mine) & votes.counted & (source[at] != votes.annotation)
    right[told] = answer[at[told]] == votes.answer[told]
    return right
