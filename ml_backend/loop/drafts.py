"""Drafts: the versions that rounds make, from their first row to the switch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, select, update

from ml_backend.store.database import Store
from ml_backend.store.names import version_name, version_prefix
from ml_backend.store.tables import Project, Ranking, Version

CONCLUDED = ("published", "retired", "rejected")
_TRAINED = ("trained", "tuned", "rollback")


@dataclass(frozen=True)
class Basis:
    """What a version rests on; equal bases give equal versions."""

    votes_digest: str
    config_digest: str
    lvm_identity: str

    def fits(self, version: Version) -> bool:
        """Tell whether a version rests on this."""
        return self == Basis(version.votes_digest, version.config_digest, version.lvm_identity)


def unfinished(store: Store, project_id: int) -> Version | None:
    """Return the version that a killed or failed round left, if there is one."""
    with store.reading() as session:
        return session.scalar(
            select(Version)
            .where(Version.project_id == project_id, Version.state == "building")
            .order_by(Version.number.desc())
        )


def trained_on(store: Store, project_id: int, basis: Basis) -> Version | None:
    """Return the latest concluded version that was trained on `basis`, or brought back on it.

    On a version that was brought back people have decided; the same votes are not tried again.
    """
    with store.reading() as session:
        versions = session.scalars(
            select(Version)
            .where(Version.project_id == project_id, Version.kind.in_(_TRAINED))
            .where(Version.state.in_(CONCLUDED))
            .order_by(Version.number.desc())
        )
        return next((version for version in versions if basis.fits(version)), None)


def champion_of(store: Store, project_id: int) -> Version | None:
    """Return the published version of a project."""
    with store.reading() as session:
        project = session.get(Project, project_id)
        return session.get(Version, project.champion) if project and project.champion else None


def begin(
    store: Store,
    project_id: int,
    kind: str,
    basis: Basis,
    votes: int,
    source: str | None = None,
    taken: Iterable[str] = (),
) -> Version:
    """Make the row of a new version; older unfinished ones are abandoned.

    Its number is above all of ours and of `taken`, the versions that Label Studio holds: a store
    that was lost, or came back from a backup, knows fewer than were published.
    """
    now = datetime.now(UTC)
    published = re.compile(re.escape(version_prefix(project_id)) + r"(\d{1,8})")
    numbers = [int(found[1]) for name in taken if (found := published.fullmatch(name))]
    with store.session() as session:
        session.get(Project, project_id, with_for_update=True)
        session.execute(
            update(Version)
            .where(Version.project_id == project_id, Version.state == "building")
            .values(state="abandoned", problem="Votes or settings changed before it was ready.")
        )
        last = session.scalar(
            select(func.max(Version.number)).where(Version.project_id == project_id)
        )
        number = max(last or 0, *numbers, 0) + 1
        version = Version(
            name=version_name(project_id, number),
            project_id=project_id,
            number=number,
            kind=kind,
            source=source,
            created_at=now,
            votes=votes,
            votes_digest=basis.votes_digest,
            config_digest=basis.config_digest,
            lvm_identity=basis.lvm_identity,
        )
        session.add(version)
        session.flush()
        return version


def note(store: Store, name: str, **values: Any) -> None:
    """Change columns of a version."""
    with store.session() as session:
        session.execute(update(Version).where(Version.name == name).values(**values))


def keep_ranking(store: Store, name: str, rows: Iterable[Ranking]) -> None:
    """Write a version's ranking, in place of an earlier one, and mark it ranked."""
    with store.session() as session:
        session.execute(delete(Ranking).where(Ranking.version == name))
        session.add_all(rows)
        session.execute(
            update(Version).where(Version.name == name).values(stage="ranked", in_label_studio=True)
        )


def crown(store: Store, name: str, project_id: int, **values: Any) -> None:
    """Make a version the champion and retire the one before, in one transaction."""
    now = datetime.now(UTC)
    with store.session() as session:
        session.execute(
            update(Version)
            .where(Version.project_id == project_id, Version.state == "published")
            .where(Version.name != name)
            .values(state="retired", retired_at=now)
        )
        session.execute(
            update(Version)
            .where(Version.name == name)
            .values(state="published", stage="published", published_at=now, **values)
        )
        session.execute(update(Project).where(Project.id == project_id).values(champion=name))


def ranked_tasks(store: Store, name: str) -> set[int]:
    """Return the tasks that a version has in its queue."""
    with store.reading() as session:
        return set(session.scalars(select(Ranking.task_id).where(Ranking.version == name)))


def coverage(store: Store, champion: str, free: Iterable[int]) -> tuple[int, int, int]:
    """Return the places of the champion's queue, and the free tasks that are and are not on it."""
    ranked, ours = ranked_tasks(store, champion), set(free)
    return len(ranked), len(ours & ranked), len(ours - ranked)
