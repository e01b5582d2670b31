"""The report: what happened in a project, as one HTML file that needs nothing outside itself.

No script and no address is loaded; plots are SVG and pictures are inside, so that it can be
mailed, printed, and read where no script runs. It reads what the pages of the dashboard read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import structlog
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from ml_backend.dashboard import report_drawings as drawings
from ml_backend.dashboard import version_rows
from ml_backend.dashboard.galaxies import Galaxies
from ml_backend.dashboard.learning_rows import MEASURES, ControlLearning, Learning, read_learning
from ml_backend.dashboard.measures import label, quality_of
from ml_backend.dashboard.outlook import WANTED, Outlook, outlook
from ml_backend.dashboard.progress_rows import COUNTS, Progress, read_progress
from ml_backend.dashboard.projects_page import counts_of
from ml_backend.dashboard.queue_rows import queue_length, queued_tasks, reason_of, suggestion_of
from ml_backend.dashboard.report_people import caller, kept_people, named_people
from ml_backend.dashboard.report_period import Period, changes, votes_by_person
from ml_backend.dashboard.report_pictures import report_pictures
from ml_backend.dashboard.report_versions import versions_in
from ml_backend.dashboard.report_warnings import warnings
from ml_backend.dashboard.words import ago, grouped, size
from ml_backend.errors import GalaxyLoopError
from ml_backend.pictures.drawing import PictureMaker
from ml_backend.store.database import Store
from ml_backend.store.tables import Project

QUEUE_SHOWN = 12
PEOPLE_SHOWN = 30
CONTROLS_SHOWN = 6
CLASSES_SHOWN = 30
_HERE = Path(__file__).parent
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes
    ----------
    period : Period
    wanted : float
        Accuracy that is forecast to, in [0.5, 0.999].
    control : str
        Whose accuracy that is; empty: the first.
    names : mapping or None
        What people are called, by ``person 12``; None: pseudonyms.
    for_managers : bool
        Patterns that look like bad faith are shown.
    """

    period: Period
    wanted: float = WANTED
    control: str = ""
    names: Mapping[str, str] | None = None
    for_managers: bool = False


def make_report(
    store: Store, project: Project, options: ReportOptions, maker: PictureMaker | None = None
) -> str:
    """Return a project's report as HTML.

    Parameters
    ----------
    store : Store
    project : Project
    options : ReportOptions
    maker : PictureMaker, optional
        Without one the queue has no pictures.
    """
    period = options.period
    settings = store.settings
    progress, progress_broken = read_progress(store, project.id)
    learning, learning_broken = read_learning(store, project.id)
    people = kept_people(store, project.id)
    look = outlook(store, project.id, progress, options.control, options.wanted, period.now)
    counts, _ = counts_of(store, project.id)
    queued = queue_length(store, project)
    table = named_people(store, project.id, people, options.names)
    called = caller(store, project.id, table, options.names)
    browser = settings.label_studio_public_url or settings.label_studio_url
    return _environment().get_template("report/report.html").render(
        project=project,
        title=project.title or f"Project {project.id}",
        period=period,
        options=options,
        label_studio=f"{browser}/projects/{project.id}/data",
        progress=progress,
        broken=progress_broken or learning_broken,
        meanings=COUNTS,
        classes_shown=CLASSES_SHOWN,
        changes=changes(store, project, period, progress, people) if progress else [],
        look=look,
        forecast=_forecast(look),
        days=_days(progress, period, called) if progress else "",
        day_sums=_day_sums(progress, period) if progress else [],
        learning=learning,
        controls=_controls(learning, period),
        measures=MEASURES,
        versions=versions_in(store, project.id, period.start),
        rows=version_rows,
        people=table[:PEOPLE_SHOWN],
        people_count=len(table),
        in_period=votes_by_person(people, period) if people else None,
        agreement=people["controls"] if people else [],
        anchoring=people["anchoring"] if people else None,
        suspects=[one for one in table if one["suspicions"]] if options.for_managers else None,
        queued=queued,
        **_queue(store, project, options, maker),
        warnings=warnings(
            store, project, period, counts, progress.at if progress else None, people, queued
        ),
        styles=_styles(),
    )  # fmt: skip


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        ago=ago, size=size, grouped=grouped, measure=label, quality=quality_of,
        reason_of=reason_of, suggestion_of=suggestion_of,
    )  # fmt: skip
    return made


def _styles() -> Markup:
    """The dashboard's style and the report's own, to stand inside the file."""
    sheets = [
        (_HERE / "static" / name).read_text(encoding="utf-8")
        for name in ("style.css", "report.css")
    ]
    return Markup("\n").join([Markup(sheets[0]), drawings.colours(), Markup(sheets[1])])


def _days(progress: Progress, period: Period, called: Callable[[str], str]) -> Markup | str:
    """The votes of the period and of the one before, days without votes included."""
    days = {day: progress.days.get(day, {}) for day in period.with_before}
    present = {who for row in days.values() for who in row}
    if not present:
        return ""
    order = [one["person"] for one in progress.people if one["person"] in present]
    order += sorted(present - set(order))
    said = "Votes per day by person; the table below has the sums."
    return drawings.bars(days, {who: called(who) for who in order}, said)


def _day_sums(progress: Progress, period: Period) -> list[tuple[date, int]]:
    return [(day, sum(progress.days.get(day, {}).values())) for day in period.with_before[::-1]]


def _forecast(look: Outlook) -> Markup | str:
    if not look.points:
        return ""
    band, grid = None, look.shown_votes
    if look.curve is not None:
        low, middle, high = look.curve.quality(grid).tolist()
        band = drawings.Band("forecast (80 % band)", grid.tolist(), low, middle, high)
    points = drawings.Series(
        "versions (± 1 standard error)",
        [point.votes for point in look.points],
        [point.quality for point in look.points],
        [point.error for point in look.points],
    )
    axes = drawings.Axes(
        "votes", "accuracy", y_text=_percent, y_most=1.0,
        level=look.wanted, level_name=f"wanted: {100 * look.wanted:g} %",
    )  # fmt: skip
    return drawings.curves([points], axes, "Accuracy against votes, with a forecast.", band)


@dataclass(frozen=True)
class _Control:
    """One question's quality: now, before the period, and its plot."""

    told: ControlLearning
    before: Mapping[str, float]
    plot: Markup | str


def _controls(learning: Learning | None, period: Period) -> list[_Control]:
    found = []
    for told in learning.controls if learning is not None else ():
        if not told.curve:
            continue
        before: dict[str, float] = {}
        for point in told.curve:
            at = str(point.get("at") or "")
            if at and at[:10] < period.first.isoformat():
                before = {
                    name: float(point[name]) for name in MEASURES
                    if isinstance(point.get(name), int | float)
                }  # fmt: skip
        found.append(_Control(told, before, _quality_plot(told) if len(told.curve) > 1 else ""))
    return found


def _quality_plot(told: ControlLearning) -> Markup:
    name = told.measure
    series = [
        drawings.Series(
            said, [point.votes for point in points], [point.value for point in points],
            [point.error for point in points], shade,
        )
        for said, points, shade in (
            ("all unseen answers", told.seen.get(name, ()), 0),
            ("audit arm (random order)", told.audit.get(name, ()), 1),
        )
        if points
    ]  # fmt: skip
    share = name in ("accuracy", "calibration_error")
    axes = drawings.Axes(
        "votes", MEASURES[name], y_text=_percent if share else _three, y_most=1.0 if share else None
    )
    return drawings.curves(series, axes, f"{MEASURES[name]} of {told.name} against votes.")


def _queue(
    store: Store, project: Project, options: ReportOptions, maker: PictureMaker | None
) -> dict[str, Any]:
    """The first galaxies of the queue; a queue that cannot be told costs only itself."""
    ids = queued_tasks(store, project, 0, QUEUE_SHOWN)
    try:
        states = Galaxies(store).states(project, ids) if ids else []
    except (GalaxyLoopError, *_BROKEN) as error:
        _log.warning("report_without_queue", project=project.id, reason=str(error))
        return {"states": [], "pictures": {}, "queue_broken": True}
    if options.names is None:
        states = [replace(state, wished_by="") for state in states]
    pictures = report_pictures(store, maker, project.id, ids) if maker is not None and ids else {}
    return {"states": states, "pictures": pictures, "queue_broken": False}


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _three(value: float) -> str:
    return f"{value:.3g}"
