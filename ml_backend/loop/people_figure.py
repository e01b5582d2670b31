"""The figure ``people``: who works in a project, how much, how well, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ml_backend.labelstudio.config import ChoicesControl
from ml_backend.loop.anchoring import MOST_VERSIONS, anchoring, by_person
from ml_backend.loop.checked_answers import by_known, by_others
from ml_backend.loop.peers import Peers, peer_kappa, peers_of
from ml_backend.loop.people_agreement import control_agreement, number_of, paired_agreement
from ml_backend.loop.people_kept import moved_on, people_tallies, with_mark
from ml_backend.loop.people_votes import PeopleVotes, people_votes
from ml_backend.loop.suspicions import suspicions
from ml_backend.store.crowd_tables import Skill
from ml_backend.store.database import Store
from ml_backend.store.figures import kept_figure
from ml_backend.store.tables import Ranking

if TYPE_CHECKING:
    from ml_backend.loop.figures import FigureContext

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

DAYS = 60
PEOPLE_BY_DAY = 12
"""People whose votes of each day are kept by name; the others' are added up."""
PAUSE_SECONDS = 600.0
"""A longer gap between two answers is no work."""
CONFUSIONS = 500
"""People, the busiest ones, whose confusion is kept."""
DAY = 86400.0


def make_people(context: FigureContext) -> dict[str, Any]:
    """Count everything that the page for people shows, the dear parts not in every round."""
    store, project_id = context.store, context.project_id
    tallies = people_tallies(store, project_id)
    kept = kept_figure(store, project_id, "people")
    same = None if kept is None else moved_on(kept.data, tallies, context.now)
    return same or with_mark(_counted(context), tallies, context.now)


def _counted(context: FigureContext) -> dict[str, Any]:
    store, project_id = context.store, context.project_id
    votes = people_votes(store, project_id)
    choices = [c for c in context.config.answered if isinstance(c, ChoicesControl)]
    of_choices = np.isin(
        votes.control,
        [at for at, name in enumerate(votes.controls) if name in {c.name for c in choices}],
    )
    peers = peers_of(votes, of_choices)
    skills = _skills(store, project_id)
    golds = [_gold_score(skills.get(name, [])) for name in votes.persons]
    others, known = by_others(votes, peers), by_known(store, project_id, votes)
    found = suspicions(votes, {at: score for at, score in enumerate(golds) if score[0]}, peers)
    by_name: dict[str, list[dict[str, str]]] = {}
    for one in found:
        by_name.setdefault(one.person, []).append({"kind": one.kind, "sentence": one.sentence})
    people = _people(votes, peers, golds, others, skills)
    for row in people:
        row["suspicions"] = by_name.get(row["person"], [])
    confidence = _confidences(store, votes)
    return {
        "people": people,
        "controls": control_agreement(store, project_id, context.config, votes),
        "pairs": paired_agreement(votes, choices, [one["person"] for one in people]),
        "days": _by_day(votes, people, context.now),
        "anchoring": anchoring(votes, confidence, np.where(known >= 0, known, others)),
    }


def _people(
    votes: PeopleVotes,
    peers: Peers,
    golds: Sequence[tuple[int, int]],
    others: npt.NDArray[np.int8],
    skills: Mapping[str, list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    p = len(votes.persons)
    rows = votes.submissions
    who, skipped, known = votes.person[rows], votes.skipped[rows], votes.known[rows]
    answers = ~skipped & ~known
    given = np.bincount(who[answers], minlength=p)
    skips = np.bincount(who[skipped], minlength=p)
    pairs = np.unique(np.stack([who[answers], votes.task[rows][answers]]), axis=1)
    tasks = np.bincount(pairs[0], minlength=p)
    seen = np.full(p, -np.inf)
    np.maximum.at(seen, who, np.nan_to_num(votes.at[rows], nan=-np.inf))
    pace, hours = _pace(votes, rows[answers])
    kappa = peer_kappa(votes, peers)
    arms = by_person(votes)
    checked = np.bincount(votes.person[others >= 0], minlength=p)
    same = np.bincount(votes.person[others == 1], minlength=p)
    table: list[dict[str, Any]] = []
    for at in np.argsort(-given, kind="stable").tolist():
        name = votes.persons[at]
        mine = skills.get(name, [])
        table.append(
            {
                "person": name,
                "votes": int(given[at]),
                "skips": int(skips[at]),
                "tasks": int(tasks[at]),
                "seconds": number_of(pace[at], 2),
                "per_hour": number_of(given[at] / hours[at], 1) if hours[at] > 0.02 else None,
                "last_seen": _iso(seen[at]),
                **_reliability(mine),
                "skills": mine if len(table) < CONFUSIONS else [],
                "golds": golds[at][0],
                "golds_right": golds[at][1],
                "consensus": int(checked[at]),
                "consensus_same": int(same[at]),
                "kappa": number_of(kappa.value[at]),
                "kappa_error": number_of(kappa.error[at]),
                "shared": int(kappa.items[at]),
                **{name: int(counts[at]) for name, counts in arms.items()},
            }
        )
    return table


def _pace(votes: PeopleVotes, rows: Ids) -> tuple[Doubles, Doubles]:
    """Median lead time in seconds, and hours at work, of each person."""
    p = len(votes.persons)
    pace: Doubles = np.full(p, np.nan)
    hours: Doubles = np.zeros(p)
    who, lead, at = votes.person[rows], votes.lead[rows], votes.at[rows]
    timed = np.isfinite(lead)
    order = np.lexsort((lead[timed], who[timed]))
    ordered, n = lead[timed][order], np.bincount(who[timed], minlength=p)
    start = np.cumsum(n) - n
    has = n > 0
    pace[has] = (ordered[start[has] + (n[has] - 1) // 2] + ordered[start[has] + n[has] // 2]) / 2
    dated = np.isfinite(at)
    who, at = who[dated], at[dated]
    lead = np.minimum(np.nan_to_num(lead[dated], nan=0.0), PAUSE_SECONDS)
    order = np.lexsort((at, who))
    who, at, lead = who[order], at[order], lead[order]
    if len(who):
        gap = np.diff(at, prepend=at[0])
        begins = np.ones(len(who), np.bool_)
        begins[1:] = (who[1:] != who[:-1]) | (gap[1:] > PAUSE_SECONDS)
        hours = np.bincount(who, np.where(begins, lead, gap), minlength=p) / 3600
    return pace, hours


def _skills(store: Store, project_id: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    with store.reading() as session:
        for skill in session.scalars(select(Skill).where(Skill.project_id == project_id)):
            found.setdefault(skill.person, []).append(
                {
                    "control": skill.control,
                    "votes": skill.votes,
                    "reliability": skill.reliability,
                    "low": skill.low,
                    "high": skill.high,
                    "golds": skill.golds,
                    "golds_right": skill.golds_right,
                    "details": skill.details,
                }
            )
    return found


def _reliability(skills: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean over the controls, weighted by votes; the bounds likewise, which is on the safe side."""
    told = [one for one in skills if one["reliability"] is not None]
    total = sum(one["votes"] for one in told)
    if not total:
        return {"reliability": None, "low": None, "high": None}
    return {
        name: round(sum(one["votes"] * (one[name] or 0.0) for one in told) / total, 4)
        for name in ("reliability", "low", "high")
    }


def _gold_score(skills: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Answers to choices that are known, and how many were right, as settling counted them."""
    return sum(one["golds"] for one in skills), sum(one["golds_right"] for one in skills)


def _confidences(store: Store, votes: PeopleVotes) -> Doubles:
    """Confidence of the suggestion behind each vote, of the latest versions; else NaN."""
    found = np.full(len(votes), np.nan)
    latest = np.full(len(votes.versions), -np.inf)
    np.maximum.at(latest, votes.version, votes.annotation.astype(np.float64))
    names = [votes.versions[at] for at in np.argsort(-latest).tolist() if votes.versions[at]]
    told: dict[tuple[str, int], Any] = {}
    with store.reading() as session:
        for name in names[:MOST_VERSIONS]:
            rows = session.execute(
                select(Ranking.task_id, Ranking.answers).where(Ranking.version == name)
            )
            told.update(((name, row.task_id), row.answers) for row in rows)
    wanted = np.isin(votes.version, [votes.versions.index(name) for name in names[:MOST_VERSIONS]])
    for row in np.flatnonzero(wanted & (votes.agrees >= 0)).tolist():
        answers = told.get((votes.versions[votes.version[row]], int(votes.task[row])), {})
        answer = answers.get(votes.controls[votes.control[row]])
        confidence = answer.get("confidence") if isinstance(answer, dict) else None
        if isinstance(confidence, float | int):
            found[row] = confidence
    return found


def _by_day(
    votes: PeopleVotes, people: Sequence[Mapping[str, Any]], now: datetime
) -> dict[str, Any]:
    """Answers of each of the last days (UTC), by person; the last row is everybody else."""
    rows = votes.submissions
    rows = rows[votes.counted[rows] & np.isfinite(votes.at[rows])]
    today = int(now.timestamp() // DAY)
    day = (votes.at[rows] // DAY).astype(np.int64) - (today - DAYS + 1)
    recent = (day >= 0) & (day < DAYS)
    day, who = day[recent], votes.person[rows][recent]
    named = [votes.persons.index(one["person"]) for one in people[:PEOPLE_BY_DAY]]
    place = np.full(max(len(votes.persons), 1), len(named))
    place[named] = np.arange(len(named))
    counts = np.bincount(place[who] * DAYS + day, minlength=(len(named) + 1) * DAYS)
    first = datetime.fromtimestamp((today - DAYS + 1) * DAY, UTC).date()
    return {
        "first": first.isoformat(),
        "people": [one["person"] for one in people[:PEOPLE_BY_DAY]],
        "counts": counts.reshape(-1, DAYS).tolist(),
    }


def _iso(seconds: float) -> str | None:
    if not np.isfinite(seconds):
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
