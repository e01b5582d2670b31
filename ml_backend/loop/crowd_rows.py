"""Rows of the crowd: written in bulk, and only those that have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, and_, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from ml_backend.store.crowd_tables import Posterior, Skill, Verdict
from ml_backend.store.tables import Base

TOLERANCE = 0.002
"""A row whose numbers all moved by less is left as it is: every new vote moves all a little."""

_BATCH = 5000


def write_posteriors(session: Session, project_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """Make the project's posteriors these; return how many rows were written or removed.

    Parameters
    ----------
    session : Session
        One that may write.
    project_id : int
    rows : sequence of mapping
        All columns but ``project_id`` and ``updated_at``.
    """
    compared = ("label", "confidence", "people", "difficulty")
    return _replace(
        session, Posterior, ("control", "task_id"), compared, "updated_at", project_id, rows
    )


def write_skills(session: Session, project_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """Make the project's skills these (see `write_posteriors`)."""
    compared = ("votes", "reliability", "low", "high", "golds", "golds_right", "details")
    return _replace(session, Skill, ("control", "person"), compared, "updated_at", project_id, rows)


def write_verdicts(session: Session, project_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """Make the project's verdicts these; `changed_at` moves only with a change of state."""
    compared = ("state", "reason", "people", "gain")
    return _replace(session, Verdict, ("task_id",), compared, "changed_at", project_id, rows)


def _replace(
    session: Session,
    table: type[Base],
    keys: tuple[str, ...],
    compared: tuple[str, ...],
    stamp: str,
    project_id: int,
    rows: Sequence[Mapping[str, Any]],
) -> int:
    made: Table = table.__table__  # type: ignore[assignment]
    columns = [made.c[name] for name in (*keys, *compared)]
    before = {
        tuple(row[: len(keys)]): tuple(row[len(keys) :])
        for row in session.execute(select(*columns).where(made.c.project_id == project_id))
    }
    now = datetime.now(UTC)
    new: list[dict[str, Any]] = []
    changed: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        old = before.pop(key, None)
        if old is None:
            new.append({**row, "project_id": project_id, stamp: now})
        elif not _same(old, tuple(row[name] for name in compared)):
            values = {f"new_{name}": value for name, value in row.items() if name not in keys}
            # A verdict's time says when its state changed, not its gain.
            if table is not Verdict or old[0] != row["state"]:
                values[f"new_{stamp}"] = now
            named = {f"key_{name}": row[name] for name in keys}
            changed.setdefault(tuple(sorted(values)), []).append({**values, **named})
    for part in _parts(new):
        session.execute(insert(made), part)
    for names, group in changed.items():
        # The primary key of a verdict is its task alone; a wrong project would still be refused.
        same = and_(
            made.c.project_id == project_id,
            *(made.c[name] == bindparam(f"key_{name}") for name in keys),
        )
        values = {name.removeprefix("new_"): bindparam(name) for name in names}
        for part in _parts(group):
            session.execute(update(made).where(same).values(values), part)
    for part in _parts(
        [{f"key_{name}": key[at] for at, name in enumerate(keys)} for key in before]
    ):
        same = and_(
            made.c.project_id == project_id,
            *(made.c[name] == bindparam(f"key_{name}") for name in keys),
        )
        session.execute(delete(made).where(same), part)
    return len(new) + sum(map(len, changed.values())) + len(before)


def _same(old: Iterable[Any], new: Iterable[Any]) -> bool:
    for before, after in zip(old, new, strict=True):
        if isinstance(before, float) and isinstance(after, float):
            if abs(before - after) > TOLERANCE:
                return False
        elif isinstance(before, dict) and isinstance(after, dict):
            # Confusions move as reliabilities do; numbers have none, and have units of their own.
            if any(before.get(name) != after.get(name) for name in ("bias", "scatter")):
                return False
        elif before != after:
            return False
    return True


def _parts(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
