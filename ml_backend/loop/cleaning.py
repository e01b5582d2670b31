"""Cleaning: old versions leave Label Studio in small slices, and the disk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, select, update

from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.queue import remove_old_versions
from ml_backend.loop.project_lvm import discard, unused
from ml_backend.store.database import Store
from ml_backend.store.hashindex import HashIndex, keys_of
from ml_backend.store.names import version_prefix
from ml_backend.store.tables import Project, Ranking, Task, Version
from ml_backend.store.versions import remove_drafts, remove_version, version_folder

RETIRED_KEPT = 2
"""Latest retired versions whose predictions stay in Label Studio: people may have them open."""

KEPT_SECONDS = 120.0
"""Seconds that a version stays in Label Studio after it was replaced..."""

RETIRED_MOST = 6
"""...unless more than so many are there: each makes every listing of predictions slower."""

_HASHES_AT_ONCE = 100_000

_log = structlog.get_logger(__name__)


def removable(store: Store, project_id: int) -> list[str]:
    """Return the versions whose predictions may leave Label Studio, oldest first."""
    with store.reading() as session:
        rows = list(
            session.scalars(
                select(Version)
                .where(Version.project_id == project_id, Version.in_label_studio)
                .where(Version.state.in_(("retired", "abandoned", "rejected")))
                .order_by(Version.number.desc())
            )
        )
    edge = datetime.now(UTC) - timedelta(seconds=KEPT_SECONDS)
    names = []
    for place, version in enumerate(rows):
        young = (version.retired_at or version.created_at) > edge
        if version.state != "retired" or place >= (RETIRED_MOST if young else RETIRED_KEPT):
            names.append(version.name)
    return names[::-1]


def clean(
    client: LabelStudioClient,
    store: Store,
    project_id: int,
    may_continue: Callable[[], bool] = lambda: True,
) -> int:
    """Remove old versions' predictions from Label Studio, and old versions' files.

    Parameters
    ----------
    client : LabelStudioClient
    store : Store
    project_id : int
    may_continue : callable
        Asked before each slice; False stops (the next cleaning goes on).

    Returns
    -------
    int
        Predictions deleted in Label Studio.
    """
    deleted = 0
    for name in removable(store, project_id):
        if not may_continue():
            break
        deleted += remove_old_versions(client, project_id, [name], may_continue)
        if name in client.model_versions(project_id):
            break
        with store.session() as session:
            session.execute(
                update(Version).where(Version.name == name).values(in_label_studio=False)
            )
    prune(store, project_id)
    return deleted


def prune(store: Store, project_id: int) -> list[str]:
    """Delete the files and rankings of all but the newest ``versions_kept`` versions.

    The champion and a version that is being made are always kept; tuned LVMs that no version left
    rests on go, too. Returns the names.
    """
    with store.reading() as session:
        project = session.get(Project, project_id)
        versions = session.scalars(
            select(Version)
            .where(Version.project_id == project_id, Version.on_disk)
            .order_by(Version.number.desc())
        ).all()
    champion = project.champion if project else None
    gone = [
        version.name
        for version in versions[store.settings.versions_kept :]
        if version.name != champion and version.state != "building"
    ]
    for name in gone:
        remove_version(version_folder(store.folder, name))
        with store.session() as session:
            session.execute(delete(Ranking).where(Ranking.version == name))
            session.execute(update(Version).where(Version.name == name).values(on_disk=False))
    for identity in unused(store, project_id):
        discard(store, project_id, identity)
    if gone:
        _log.info("versions_pruned", project=project_id, versions=gone)
    return gone


def clean_disk(store: Store, project_id: int) -> int:
    """Delete what killed rounds of a project left half-written; for the round that runs."""
    return remove_drafts(store.folder, version_prefix(project_id))


def used_images(store: Store) -> HashIndex:
    """Return the content hashes of all images that a task of any project still shows."""
    found = HashIndex()
    chosen = select(Task.content_hash).where(~Task.removed, Task.content_hash.is_not(None))
    with store.reading() as session:
        rows = session.execute(chosen.execution_options(yield_per=_HASHES_AT_ONCE))
        for part in rows.scalars().partitions(_HASHES_AT_ONCE):
            found.extend(keys_of([content_hash for content_hash in part if content_hash]))
    return found
