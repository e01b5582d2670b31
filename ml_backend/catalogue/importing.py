"""An import: galaxies of a catalogue become tasks with pictures, each once."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ml_backend.bulk.items import SourceError, scheme_of
from ml_backend.catalogue.cells import safe_cell
from ml_backend.catalogue.cutout_server import ServerUnavailable
from ml_backend.catalogue.footprint import centre
from ml_backend.catalogue.galaxies import SAME_PLACE, Catalogue, Galaxy
from ml_backend.catalogue.image_sources import Found, ImageSource
from ml_backend.catalogue.pictures import MOST_EMBEDDED, PictureFolder, address_of
from ml_backend.catalogue.restored import restored_elsewhere, restored_picture
from ml_backend.catalogue.tasks import TaskSink, make_task
from ml_backend.errors import FetchError
from models.images import GalaxyImage, ImageError, ImageLimits, image_facts, read_image

_CHUNK = 16
_SHIFT = 2.0  # pixels that a kept cut-out may be off before it is made anew

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportOptions:
    """How galaxies become tasks.

    Attributes
    ----------
    prefix : str or None
        What stands before a picture's file name in its address; None: it is in the task itself.
    survey : str
        Name that tasks carry.
    limits : ImageLimits
    restored : bool
        Tasks also hold the restored image, as a picture beside the other one.
    sign : callable or None
        From the address of an image that is not read here to that of its restored picture; None:
        such images have none.
    """

    prefix: str | None = None
    survey: str = ""
    limits: ImageLimits = field(default_factory=ImageLimits)
    restored: bool = False
    sign: Callable[[str], str] | None = None


@dataclass
class ImportReport:
    """What an import did, or would do.

    Attributes
    ----------
    galaxies : int
        In the catalogue, each id once.
    added : int
        New tasks.
    known : int
        Galaxies that were there already.
    moved : int
        Of these, at another position than the catalogue says now.
    failed : int
    examples : list of tuple
        (id, reason) of the first that failed.
    sample : dict or None
        The first new task.
    """

    galaxies: int = 0
    added: int = 0
    known: int = 0
    moved: int = 0
    failed: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)
    sample: dict[str, Any] | None = None

    def fail(self, name: str, reason: str) -> None:
        """Count a galaxy that has no task."""
        self.failed += 1
        if len(self.examples) < 5:
            self.examples.append((name, reason))

    def recognise(self, galaxy: Galaxy, sink: TaskSink) -> bool:
        """Count a galaxy that is there already; False for one that is new."""
        if galaxy.id not in sink.known:
            return False
        self.known += 1
        there = sink.known[galaxy.id]
        if there and galaxy.position and there.separation(galaxy.position) > SAME_PLACE:
            self.moved += 1
        return True


def plan_import(
    catalogue: Catalogue, source: ImageSource, sink: TaskSink, options: ImportOptions
) -> ImportReport:
    """Go through a catalogue and say what an import would do; nothing is fetched or written.

    Raises
    ------
    SourceError
        The catalogue is broken, or more pictures would be embedded than is wise.
    """
    report = ImportReport()
    embedded = 0
    for galaxy in catalogue:
        report.galaxies += 1
        if report.recognise(galaxy, sink):
            continue
        reason = galaxy.problem or source.doubt(galaxy)
        if reason:
            report.fail(galaxy.id, reason)
            continue
        report.added += 1
        embedded += options.prefix is None and not scheme_of(galaxy.address)
        if report.sample is None:
            report.sample = make_task(
                sink.image_field,
                galaxy.address or "...",
                galaxy.id,
                galaxy.position,
                survey=options.survey,
            )
    if not report.galaxies:
        raise SourceError(f"The catalogue {catalogue.path} holds no rows.")
    if embedded > MOST_EMBEDDED:
        raise SourceError(
            f"{embedded:,} pictures inside of their tasks would make Label Studio slow (at most "
            f"{MOST_EMBEDDED:,}). Serve the folder of pictures and say its address with --address."
        )
    return report


def run_import(
    catalogue: Catalogue,
    source: ImageSource,
    folder: PictureFolder,
    sink: TaskSink,
    options: ImportOptions,
    progress: Progress = lambda done, total: None,
    total: int = 0,
) -> ImportReport:
    """Make pictures and tasks of the galaxies that are not there yet.

    Killed at any moment, the same call goes on: kept cut-outs are not made again, and galaxies
    whose tasks are there are passed over. Those that failed are tried again, and listed in
    ``failed.csv`` in the folder.

    Parameters
    ----------
    catalogue : Catalogue
    source : ImageSource
    folder : PictureFolder
    sink : TaskSink
    options : ImportOptions
    progress : callable
        Called with (done, total).
    total : int
        Galaxies of the catalogue, as `plan_import` counted them.

    Raises
    ------
    GalaxyLoopError
        Label Studio, the disk or the survey's server fails; what was done is kept.
    """
    report = ImportReport()
    failures = folder.folder / "failed.csv"
    progress(0, total)
    with failures.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "reason"))
        try:
            for name, task, reason in _tasks(catalogue, source, folder, sink, options, report):
                if task is None:
                    report.fail(name, reason)
                    writer.writerow((safe_cell(name), safe_cell(reason)))
                else:
                    report.sample = report.sample or task
                    sink.add(task)
                    report.added += 1
                progress(report.added + report.failed + report.known, total)
        except ServerUnavailable:
            sink.keep()
            raise
    sink.finish()
    if not report.failed:
        failures.unlink(missing_ok=True)
    return report


Made = tuple[str, dict[str, Any] | None, str]


def _tasks(
    catalogue: Catalogue,
    source: ImageSource,
    folder: PictureFolder,
    sink: TaskSink,
    options: ImportOptions,
    report: ImportReport,
) -> Iterator[Made]:
    def make(galaxy: Galaxy) -> Made:
        if galaxy.problem:
            return galaxy.id, None, galaxy.problem
        try:
            return galaxy.id, _task(galaxy, source, folder, sink.image_field, options), ""
        except (FetchError, ImageError) as error:
            return galaxy.id, None, str(error)

    def new() -> Iterator[Galaxy]:
        for galaxy in catalogue:
            report.galaxies += 1
            if not report.recognise(galaxy, sink):
                yield galaxy

    lanes = ThreadPoolExecutor(source.lanes)
    try:
        for chunk in _chunks(new()):
            if source.lanes == 1:
                yield from map(make, chunk)
            else:
                yield from lanes.map(make, chunk)
    finally:
        lanes.shutdown(wait=False, cancel_futures=True)
        source.close()
        lanes.shutdown(wait=True)


def _chunks(galaxies: Iterable[Galaxy]) -> Iterator[list[Galaxy]]:
    iterator = iter(galaxies)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        yield chunk


def _task(
    galaxy: Galaxy,
    source: ImageSource,
    folder: PictureFolder,
    image_field: str,
    options: ImportOptions,
) -> dict[str, Any]:
    found, image = _image(galaxy, source, folder, options.limits)
    if image is None:
        elsewhere = restored_elsewhere(found.address, options.sign) if options.restored else None
        return make_task(
            image_field, found.address, galaxy.id, galaxy.position,
            survey=options.survey, source=found.source, restored=elsewhere,
        )  # fmt: skip
    picture = folder.keep_picture(galaxy.id, found.data, image)
    return make_task(
        image_field,
        address_of(picture, options.prefix),
        galaxy.id,
        galaxy.position or centre(image),
        survey=options.survey,
        source=found.source,
        facts=image_facts(image),
        restored=restored_picture(galaxy.id, image, folder, options.prefix)
        if options.restored
        else None,
    )


def _image(
    galaxy: Galaxy, source: ImageSource, folder: PictureFolder, limits: ImageLimits
) -> tuple[Found, GalaxyImage | None]:
    """Return the image of a galaxy: the kept one, or a new one, which is then kept."""
    kept = folder.cutout(galaxy.id, source.suffix) if source.keeps else None
    if kept is not None:
        try:
            image = read_image(kept, limits)
            if _still_there(image, galaxy):
                return Found(kept, source.origin(galaxy, kept)), image
        except ImageError:
            pass  # a damaged file is made anew
    found = source.find(galaxy)
    if not found.data:
        return found, None
    image = read_image(found.data, limits)
    if source.keeps:
        folder.keep_cutout(galaxy.id, source.suffix, found.data)
    return found, image


def _still_there(image: GalaxyImage, galaxy: Galaxy) -> bool:
    """Tell whether a kept cut-out shows the galaxy's position as it is now."""
    shown = centre(image)
    if shown is None or galaxy.position is None or not image.pixel_scale:
        return True
    return shown.separation(galaxy.position) <= _SHIFT * image.pixel_scale
