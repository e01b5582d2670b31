"""The commands about kept embeddings: verify, compact, nearest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_backend.cli.command import Failure, main, settings_with, spoken
from ml_backend.settings import Settings

if TYPE_CHECKING:
    from ml_backend.store.embeddings import EmbeddingStore

_lvm = click.option("--lvm", metavar="IDENTITY", help="Only of this LVM (a folder's name).")


@main.group()
def embeddings() -> None:
    """Check, tidy and search the embeddings that are kept in MODEL_DIR."""


@embeddings.command()
@_lvm
@spoken
def verify(lvm: str | None) -> None:
    """Compare every embedding with its checksum; exit code 1 if one is broken."""
    broken = 0
    for identity, kept in _stores(settings_with(), lvm).items():
        found = kept.verify()
        broken += found
        click.echo(f"{identity}: {len(kept)} embeddings x {kept.dimension}, {found} broken")
    if broken:
        raise Failure("Run `galaxyloop embeddings compact`: broken ones are then encoded again.")


@embeddings.command()
@_lvm
@click.option("--unused", is_flag=True, help="Also drop those of images that no task shows.")
@spoken
def compact(lvm: str | None, unused: bool) -> None:
    """Drop broken embeddings. The backend and the worker may go on meanwhile."""
    from tqdm import tqdm

    settings = settings_with()
    kept = _stores(settings, lvm)
    wanted = _used(settings) if unused else None
    for identity, store in kept.items():
        with tqdm(total=1.0, disable=None, bar_format="{l_bar}{bar}| {elapsed}") as bar:
            report = store.compact(wanted, lambda share, bar=bar: bar.update(share - bar.n))  # type: ignore[misc]
        click.echo(
            f"{identity}: {report.rows - report.dropped} embeddings kept, {report.broken} broken "
            f"and {report.unwanted} unused ones dropped; {report.shards_written} of "
            f"{report.shards_written + report.shards_kept} files written anew"
        )


@embeddings.command()
@click.argument("image")
@click.option("-k", "count", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option(
    "--metric",
    type=click.Choice(["euclidean", "cosine"]),
    default="euclidean",
    show_default=True,
    help="Distance, in standardised space.",
)
@_lvm
@spoken
def nearest(image: str, count: int, metric: Any, lvm: str | None) -> None:
    """List the images most like IMAGE (a file, or a content hash): distance, hash, tasks."""
    settings = settings_with()
    kept = _stores(settings, lvm)
    if len(kept) > 1:
        raise Failure(f"Choose one with --lvm: {', '.join(kept)}.")
    (identity, store), *_ = kept.items()
    query = image.lower()
    if not re.fullmatch(r"[0-9a-f]{64}", query):
        query = _hash_of(Path(image), settings)
    if query not in store:
        raise Failure(
            f"The image {query} has no embedding of the LVM {identity}. Only images that are "
            "tasks, and were encoded by a round, can be searched with."
        )
    hashes, distances = store.nearest(query, count, metric)
    tasks = _tasks(settings, hashes)
    for content_hash, distance in zip(hashes, distances, strict=True):
        click.echo(f"{distance:.4f}  {content_hash}  {' '.join(tasks.get(content_hash, ['-']))}")


def _stores(settings: Settings, lvm: str | None) -> dict[str, EmbeddingStore]:
    """Open the embeddings of one LVM, or of all."""
    from ml_backend.store.embeddings import EmbeddingStore

    folder = settings.model_dir / "embeddings"
    known = sorted(path.parent.name for path in folder.glob("*/form.json"))
    chosen = known if lvm is None else [name for name in known if name == lvm]
    if not chosen:
        there = f"There are some of {', '.join(known)}." if known else "A round makes them."
        raise Failure(f"No embeddings{f' of {lvm}' if lvm else ''} in {folder}. {there}")
    return {name: EmbeddingStore(folder, name) for name in chosen}


def _used(settings: Settings) -> Any:
    """Return what tells the images of tasks."""
    from ml_backend.loop.cleaning import used_images
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        used = used_images(store)
    finally:
        store.close()
    if not len(used):
        raise Failure(
            "The database knows no image of any task, so all embeddings would be dropped. Check "
            "MODEL_DIR and GALAXYLOOP_DATABASE_URL; if it is right, delete the folder embeddings."
        )
    return used.contains


def _hash_of(path: Path, settings: Settings) -> str:
    """Return the content hash of an image file."""
    from models.images import content_hash

    try:
        if path.stat().st_size > settings.image_max_bytes:
            raise Failure(f"{path} is larger than GALAXYLOOP_IMAGE_MAX_BYTES allows.")
        return content_hash(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Failure(f"{path} is neither a content hash nor a file to read ({reason}).") from None


def _tasks(settings: Settings, hashes: list[str]) -> dict[str, list[str]]:
    """Return the tasks that show images, as PROJECT/TASK."""
    from sqlalchemy import select

    from ml_backend.store.database import open_store
    from ml_backend.store.tables import Task

    found: dict[str, list[str]] = {}
    store = open_store(settings)
    try:
        with store.reading() as session:
            # SQLite takes a limited number of values at once.
            for start in range(0, len(hashes), 500):
                part = hashes[start : start + 500]
                chosen = select(Task.content_hash, Task.project_id, Task.id).where(
                    Task.content_hash.in_(part), ~Task.removed
                )
                for content_hash, project, task in session.execute(chosen.order_by(Task.id)):
                    found.setdefault(str(content_hash), []).append(f"{project}/{task}")
    finally:
        store.close()
    return found
