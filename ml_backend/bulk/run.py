"""Bulk encoding from source to file: read, encode, keep, and write it all down at the end."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import torch

from ml_backend.bulk.items import Item, Source, scheme_of
from ml_backend.bulk.journal import NO_STAMP, Journal, JournalError, Outcome, Stamp, open_journal
from ml_backend.errors import FetchError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.files import read_file
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.loop.encoding import image_limits
from ml_backend.pictures.addresses import extension_of
from ml_backend.settings import Settings
from models.images import ImageError, read_image, to_tensor
from models.throughput import Plan, Prepared, encode_stream, plan_for
from models.vision_encoder import VisionEncoder

WEB_READERS = 16
"""Images fetched at once: web servers answer slowly, so more of them are asked together."""
_PRECISIONS = {str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.bfloat16)}


@dataclass(frozen=True)
class BulkOptions:
    """Where the embeddings go.

    Attributes
    ----------
    out : Path
        The npz file; progress is kept in ``out`` + ``.partial``, failures in ``.failed.csv``.
    restart : bool
        Throw earlier progress away.
    """

    out: Path
    restart: bool = False

    @property
    def failed(self) -> Path:
        """The list of images that could not be encoded."""
        return self.out.with_name(self.out.name.removesuffix(".npz") + ".failed.csv")

    @property
    def progress(self) -> Path:
        """The folder of what is done so far."""
        return self.out.with_name(self.out.name + ".partial")


@dataclass(frozen=True)
class BulkReport:
    """How a bulk encoding ended.

    Attributes
    ----------
    encoded : int
    resumed : int
        Of these, done by an earlier run.
    failed : list of tuple
        (item, reason).
    """

    encoded: int
    resumed: int
    failed: list[tuple[Item, str]]


def encode_source(
    source: Source,
    lvm: VisionEncoder,
    settings: Settings,
    options: BulkOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BulkReport:
    """Encode every image of a source and write ``id`` and ``embedding`` to an npz file.

    Interrupted at any moment, the same call goes on where it was and gives the same file. Images
    that failed, or whose file has changed since, are tried again then.

    Parameters
    ----------
    source : Source
    lvm : VisionEncoder
    settings : Settings
        Limits on images and times.
    options : BulkOptions
    progress : callable
        Called with (done, total) at the start and after every group.

    Raises
    ------
    JournalError
        Progress cannot be kept, or belongs to another source or LVM.
    """
    plan = plan_for(lvm)
    manifest = {
        "images": len(source.items),
        "dimension": lvm.dimension,
        "source": source.fingerprint,
        "LVM": lvm.identity,
        "images_per_pass": plan.images,
        "precision": str(plan.precision).removeprefix("torch."),
    }
    same = ("source", "LVM", "dimension", "images")
    journal = open_journal(options.progress, manifest, same, options.restart)
    try:
        # The numbers depend in their last digits on how images go through the network together.
        kept = journal.manifest
        plan = Plan(kept["images_per_pass"], _PRECISIONS[kept["precision"]], plan.lanes)
        begun = journal.begun
        again = _to_try_again(source.items, journal, begun)
        resumed = int((journal.places >= 0).sum()) - sum(journal.places[i] >= 0 for i in again)
        done = begun - len(again)
        progress(done, len(source.items))
        prepare = _preparer(source.items, lvm, settings)
        for indexes in (range(begun, len(source.items)), again):
            readers = WEB_READERS if _any_web(source.items, indexes) else None
            stream = encode_stream(lvm, indexes, prepare, plan, readers=readers)
            with contextlib.closing(stream):
                for group in stream:
                    journal.append([_outcome(known, row) for known, row in group])
                    done += len(group)
                    progress(done, len(source.items))
        return _finish(source.items, journal, options, resumed)
    except OSError as error:
        raise JournalError(f"{options.out} cannot be written: {error}. Run it again.") from None
    finally:
        journal.close()


def _any_web(items: Sequence[Item], indexes: Iterable[int]) -> bool:
    return any(scheme_of(items[index].address) for index in indexes)


def _to_try_again(items: Sequence[Item], journal: Journal, begun: int) -> list[int]:
    """Indexes of images tried before that failed, or whose files are others now."""
    again = []
    for index in range(begun):
        if journal.places[index] < 0:
            again.append(index)
        elif tuple(journal.stamps[index]) != NO_STAMP:
            with contextlib.suppress(OSError):  # gone since: its embedding is still right
                found = os.stat(items[index].address)
                if tuple(journal.stamps[index]) != (found.st_size, found.st_mtime_ns):
                    again.append(index)
    return again


def _preparer(
    items: Sequence[Item], lvm: VisionEncoder, settings: Settings
) -> Callable[[int], Prepared[Outcome]]:
    limits = image_limits(settings)
    fetcher = _fetcher(items, settings)

    def load(item: Item) -> tuple[bytes, Stamp]:
        if item.problem:
            raise FetchError(item.problem)
        scheme = scheme_of(item.address)
        if scheme in ("http", "https"):
            return fetcher.fetch(item.address), NO_STAMP
        if scheme:
            raise FetchError(f"Images are not read from {scheme}: addresses; use http(s) or paths.")
        path = Path(os.path.realpath(item.address))
        data, status = read_file(path, item.address, limits.max_bytes)
        return data, (status.st_size, status.st_mtime_ns)

    def prepare(index: int) -> Prepared[Outcome]:
        try:
            data, stamp = load(items[index])
            extension = (
                extension_of(items[index].address) if scheme_of(items[index].address) else None
            )
            tensor = to_tensor(read_image(data, limits, extension), lvm.preprocessing)
            return Prepared(Outcome(index, None, "", stamp), tensor)
        except (FetchError, ImageError) as error:
            return Prepared(Outcome(index, None, str(error)))
        except Exception as error:  # noqa: BLE001 - one image must not stop the others
            reason = f"The image could not be read ({type(error).__name__})."
            return Prepared(Outcome(index, None, reason))

    return prepare


def _fetcher(items: Iterable[Item], settings: Settings) -> ImageFetcher:
    """Make a fetcher for the hosts that the catalogue names, and for public ones they redirect to.

    The person who runs the command names the catalogue, so its hosts count as named by them.
    """
    hosts = set()
    for item in items:
        if scheme_of(item.address) in ("http", "https"):
            with contextlib.suppress(ValueError):
                parts = urlsplit(item.address)
                host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
                if host and "*" not in host:
                    hosts.add(f"{host}:{parts.port}" if parts.port else host)
    allowed = {"image_hosts": (*settings.image_hosts, "*", *sorted(hosts))}
    return ImageFetcher(
        settings.model_copy(update=allowed), LabelStudioClient.from_settings(settings)
    )


def _outcome(known: Outcome, row: npt.NDArray[np.float32] | None) -> Outcome:
    if row is None:
        return known
    if not np.isfinite(row).all():
        return Outcome(known.index, None, "The LVM gives no finite embedding for this image.")
    return Outcome(known.index, row, "", known.stamp)


def _finish(
    items: Sequence[Item], journal: Journal, options: BulkOptions, resumed: int
) -> BulkReport:
    failed = [(items[index], journal.problems[index]) for index in sorted(journal.problems)]
    if failed:
        _replace(options.failed, options.progress, _failed_csv(failed))
    else:
        options.failed.unlink(missing_ok=True)
    encoded = np.flatnonzero(journal.places >= 0)
    if len(encoded):
        made = options.progress / "result.npz"
        _write_npz(made, [items[index].id for index in encoded], journal)
        os.replace(made, options.out)
    journal.remove()
    return BulkReport(len(encoded), resumed, failed)


def _write_npz(path: Path, ids: Sequence[str], journal: Journal) -> None:
    """Write what `numpy.load` reads, row by row; equal content gives equal bytes."""
    with open(path, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open("id.npy", "w", force_zip64=True) as entry:
                np.save(entry, np.array(ids, dtype=np.str_), allow_pickle=False)
            with archive.open("embedding.npy", "w", force_zip64=True) as entry:
                shape = (len(ids), int(journal.manifest["dimension"]))
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(entry, header)  # type: ignore[no-untyped-call]
                for rows in journal.rows():
                    entry.write(rows)
        file.flush()
        os.fsync(file.fileno())


def _failed_csv(failed: Iterable[tuple[Item, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("id", "image", "reason"))
    writer.writerows((item.id, item.address, reason) for item, reason in failed)
    return text.getvalue()


def _replace(path: Path, folder: Path, text: str) -> None:
    made = folder / "failed.csv"
    made.write_text(text, encoding="utf-8", errors="replace")
    os.replace(made, path)
