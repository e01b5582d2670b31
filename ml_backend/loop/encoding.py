"""Encoding: every image goes through the LVM once, and its embedding is kept.

How images get through the LVM quickly is in `models/throughput.py`. A broken image costs its own
task a sentence, and nobody else anything.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog
from sqlalchemy import and_, or_, select, update

from ml_backend.errors import FetchError, SettingsError
from ml_backend.pictures.addresses import extension_of
from ml_backend.settings import Settings
from ml_backend.store.database import Store
from ml_backend.store.embeddings import EmbeddingStore
from ml_backend.store.tables import Task
from models import sources
from models.images import ImageError, ImageLimits, content_hash, read_image, to_tensor
from models.sunet import LVMError
from models.throughput import Prepared, best_device, encode_stream
from models.vision_encoder import VisionEncoder

BATCH = 16
FETCHERS = 4
RETRY_SECONDS = 600.0
"""Seconds before an image that could not be used is tried again (a server was down...)."""

_log = structlog.get_logger(__name__)
_lvms: dict[str, VisionEncoder] = {}
_lvm_lock = threading.Lock()


class Fetcher(Protocol):
    """What gets the bytes of an image; raises `FetchError`."""

    def fetch(self, address: str) -> bytes: ...


@dataclass(frozen=True)
class ImageJob:
    """An image to encode: the task that it belongs to, and its address."""

    task_id: int
    address: str


@dataclass(frozen=True)
class Encoded:
    """What became of one image: an embedding under its content hash, or a problem."""

    task_id: int
    address: str
    content_hash: str | None
    embedding: npt.NDArray[np.float32] | None
    """None where it was kept already."""
    problem: str | None


@dataclass
class EncodeReport:
    """How many images were encoded, found already kept, or could not be used."""

    encoded: int = 0
    reused: int = 0
    broken: int = 0
    left: int = 0
    """Not tried, because the time was up."""


def load_lvm(settings: Settings) -> VisionEncoder:
    """Return the LVM of the settings, loaded once per process, on the GPU where there is one.

    Raises
    ------
    SettingsError
        ``GALAXYLOOP_LVM`` names nothing that can be used.
    """
    key = settings.lvm
    with _lvm_lock:
        if key not in _lvms:
            try:
                lvm = sources.load_lvm(settings.lvm)
            except LVMError as error:
                raise SettingsError(
                    f"The LVM cannot be loaded (GALAXYLOOP_LVM): {error}"
                ) from error
            _lvms[key] = lvm.to(best_device())
        return _lvms[key]


def image_limits(settings: Settings) -> ImageLimits:
    """Return the limits on images that the settings give."""
    return ImageLimits(max_bytes=settings.image_max_bytes, max_pixels=settings.image_max_pixels)


def missing_images(
    store: Store, project_id: int, embeddings: EmbeddingStore, retry_after: float = RETRY_SECONDS
) -> list[ImageJob]:
    """Return a project's images that have no embedding of this LVM, by task id.

    Images that could not be used are left out until `retry_after` seconds have passed.
    """
    edge = datetime.now(UTC) - timedelta(seconds=retry_after)
    waiting = and_(Task.problem.is_not(None), Task.tried_at.is_not(None), Task.tried_at > edge)
    with store.reading() as session:
        rows = session.execute(
            select(Task.id, Task.image, Task.content_hash)
            .where(Task.project_id == project_id, ~Task.removed, Task.image != "")
            .where(or_(Task.problem.is_(None), ~waiting))
            .order_by(Task.id)
        ).all()
    hashes = [row.content_hash for row in rows if row.content_hash]
    kept = iter(embeddings.contains(hashes).tolist() if hashes else ())
    return [ImageJob(row.id, row.image) for row in rows if not (row.content_hash and next(kept))]


def encode_missing(
    store: Store,
    fetcher: Fetcher,
    lvm: VisionEncoder,
    images: Sequence[ImageJob],
    progress: Callable[[int, int], None] = lambda done, total: None,
    seconds: float | None = None,
    note: bool = True,
) -> EncodeReport:
    """Encode images and keep their embeddings; write each task's content hash or problem.

    Parameters
    ----------
    store : Store
    fetcher : ImageFetcher
    lvm : VisionEncoder
    images : sequence of ImageJob
        E.g. of :func:`missing_images`.
    progress : callable
        Called with (done, total) after every batch; may raise to stop. What is done is kept.
    seconds : float, optional
        Stop after the batch that passes this time.
    note : bool
        Write what became of each task; else embeddings alone are kept.

    Raises
    ------
    StoreError
        Embeddings cannot be written.
    """
    report = EncodeReport()
    embeddings = store.embeddings(lvm.identity, lvm.dimension)
    limits = image_limits(store.settings)
    done, began = 0, time.monotonic()
    for batch in encode(images, fetcher, lvm, embeddings, limits):
        for item in batch:
            report.broken += item.problem is not None
            report.encoded += item.embedding is not None
            report.reused += item.problem is None and item.embedding is None
        if note:
            record(store, embeddings, batch)
        else:
            keep_embeddings(embeddings, batch)
        done += len(batch)
        progress(done, len(images))
        if seconds is not None and time.monotonic() - began > seconds:
            break
    report.left = len(images) - done
    return report


def keep_embeddings(embeddings: EmbeddingStore, batch: Sequence[Encoded]) -> None:
    """Keep the embeddings of a batch."""
    new = [item for item in batch if item.embedding is not None and item.content_hash]
    if new:
        rows = np.stack([item.embedding for item in new if item.embedding is not None])
        embeddings.add([item.content_hash or "" for item in new], rows)


def record(store: Store, embeddings: EmbeddingStore, batch: Sequence[Encoded]) -> None:
    """Keep the embeddings of a batch, then write what became of each task."""
    keep_embeddings(embeddings, batch)
    now = datetime.now(UTC)
    with store.session() as session:
        for item in batch:
            told = {"problem": item.problem, "tried_at": now}
            # What cannot be had again keeps its hash: other LVMs may have its embedding.
            if item.problem is None:
                told["content_hash"] = item.content_hash
            # A task whose image was changed meanwhile stays to be encoded.
            session.execute(
                update(Task)
                .where(Task.id == item.task_id, Task.image == item.address)
                .values(**told)
            )


def encode(
    images: Iterable[ImageJob],
    fetcher: Fetcher,
    lvm: VisionEncoder,
    embeddings: EmbeddingStore,
    limits: ImageLimits,
) -> Iterator[list[Encoded]]:
    """Fetch, decode and encode images in order, in batches; equal images are encoded once.

    Yields
    ------
    list of Encoded
        Up to :data:`BATCH`, in the order of `images`.
    """

    def prepare(job: ImageJob) -> Prepared[Encoded]:
        def broken(problem: str) -> Prepared[Encoded]:
            return Prepared(Encoded(job.task_id, job.address, None, None, problem))

        try:
            data = fetcher.fetch(job.address)
            extension = extension_of(job.address)
            digest = content_hash(data, extension)
            known = Encoded(job.task_id, job.address, digest, None, None)
            if digest in embeddings:
                return Prepared(known)
            tensor = to_tensor(read_image(data, limits, extension), lvm.preprocessing)
            return Prepared(known, tensor, digest)
        except (FetchError, ImageError) as error:
            return broken(str(error))
        except Exception as error:  # noqa: BLE001
            # What no reader foresaw must not stop the other images.
            _log.exception("image_failed", task=job.task_id)
            return broken(f"The image could not be read ({type(error).__name__}).")

    stream = encode_stream(lvm, images, prepare, group=BATCH, readers=FETCHERS)
    with contextlib.closing(stream):
        for group in stream:
            yield [_finished(item, row) for item, row in group]


def _finished(item: Encoded, row: npt.NDArray[np.float32] | None) -> Encoded:
    if row is None:
        return item
    if not np.isfinite(row).all():
        problem = "The LVM gives no finite embedding for this image."
        return replace(item, content_hash=None, problem=problem)
    return replace(item, embedding=row)
