"""The map of a project's galaxies as a plot: coloured by class, doubt or votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.dashboard.plots import Palette, legend_below, legend_columns, new_plot
from ml_backend.loop.project_map import ProjectMap

if TYPE_CHECKING:
    from ml_backend.loop.galaxy_states import GalaxyState

MOST_POINTS = 5000
"""Points that are drawn; of a larger project a random sample, the same each time."""
COLOURS = {"class": "Class", "doubt": "Doubt of the model", "votes": "Votes"}
NOTHING = "nothing said yet"
OTHERS = "other classes"
_HEIGHT = 520
_SCALE = "Viridis256"
_TIP = "display:flex;gap:8px;color:#222"


@dataclass(frozen=True)
class MapPoint:
    """A galaxy on the map."""

    x: float
    y: float
    state: GalaxyState

    @property
    def label(self) -> str:
        """What people say, else what the model suggests."""
        if self.state.said is not None:
            return self.state.said.label
        return self.state.opinions[0].label if self.state.opinions else NOTHING

    @property
    def by(self) -> str:
        """Who says so."""
        if self.state.said is not None:
            return "people"
        return "the model" if self.state.opinions else ""


def drawn_tasks(kept: ProjectMap, seed: int) -> list[int]:
    """Return the tasks that are drawn: all, or a sample of `MOST_POINTS`."""
    if len(kept.task_ids) <= MOST_POINTS:
        return [int(task) for task in kept.task_ids]
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(kept.task_ids), MOST_POINTS, replace=False)
    return [int(task) for task in kept.task_ids[np.sort(chosen)]]


def map_points(kept: ProjectMap, states: Sequence[GalaxyState]) -> list[MapPoint]:
    """Return where galaxies lie; the map must have them."""
    at = np.searchsorted(kept.task_ids, [state.task_id for state in states])
    return [
        MapPoint(float(x), float(y), state)
        for (x, y), state in zip(kept.places[at], states, strict=True)
    ]


def map_plot(points: Sequence[MapPoint], colour: str, colours: Palette, thumbnails: str) -> Any:
    """Return the plot.

    Parameters
    ----------
    points : sequence of MapPoint
    colour : str
        One of `COLOURS`.
    colours : Palette
    thumbnails : str
        Address of a thumbnail with ``@{task}`` for the task's number.
    """
    from bokeh.models import ColumnDataSource, HoverTool

    plot = new_plot(
        colours, _HEIGHT, tools="pan,wheel_zoom,box_zoom,tap,lasso_select,reset", match_aspect=True,
        active_scroll=None, active_drag="pan",
    )  # fmt: skip
    plot.axis.visible = False
    plot.grid.visible = False
    # The labelled are drawn last, so that no unlabelled galaxy hides one.
    points = sorted(points, key=lambda point: point.state.said is not None)
    said = np.array([point.state.said is not None for point in points], np.bool_)
    data = {
        "x": [point.x for point in points],
        "y": [point.y for point in points],
        "task": [str(point.state.task_id) for point in points],
        "label": [point.label for point in points],
        "by": [point.by for point in points],
        "people": [str(point.state.people) for point in points],
        "doubt": [_percent(point.state.doubt) for point in points],
        "size": np.where(said, 9, 6).tolist(),
        "alpha": np.where(said, 0.95, 0.6 if len(points) < 1500 else 0.45).tolist(),
    }
    source = ColumnDataSource(data, name="galaxies")
    options: dict[str, Any] = {
        "size": "size", "fill_alpha": "alpha", "line_color": colours.back, "line_width": 0.5,
        "nonselection_fill_alpha": 0.2, "selection_line_color": colours.text,
        "selection_line_width": 2, "selection_fill_alpha": 1.0, "source": source,
    }  # fmt: skip
    if colour == "class":
        named = _named(points, len(colours.series) - 1)
        shade = dict(zip(named, colours.series, strict=False))
        groups = [_group(point.label, shade) for point in points]
        source.data["group"] = groups
        source.data["colour"] = [shade.get(group, colours.line) for group in groups]
        plot.scatter("x", "y", fill_color="colour", legend_group="group", **options)
        legend_below(plot, colours)
        plot.legend.ncols = legend_columns(sorted(set(groups)))
        plot.legend.click_policy = "none"
    else:
        _add_scaled(plot, points, colour, colours, options)
    picture = f'<img src="{thumbnails}" width="96" height="96" alt="" style="display:block">'
    about = "<b>@label</b> <small>@by</small><br>task @task · votes @people · doubt @doubt"
    plot.add_tools(
        HoverTool(
            tooltips=f'<div style="{_TIP}">{picture}<div>{about}</div></div>',
            point_policy="snap_to_data",
            attachment="horizontal",
        )
    )
    return plot


def _add_scaled(
    plot: Any, points: Sequence[MapPoint], colour: str, colours: Palette, options: dict[str, Any]
) -> None:
    from bokeh.models import LinearColorMapper
    from bokeh.models.annotations import ColorBar

    values = [
        (point.state.doubt if colour == "doubt" else float(point.state.people)) for point in points
    ]
    known = [value for value in values if value is not None]
    high = max(known, default=1.0)
    mapper = LinearColorMapper(palette=_SCALE, low=0, high=max(high, 1e-6), nan_color=colours.line)
    options["source"].data["value"] = [np.nan if value is None else value for value in values]
    plot.scatter("x", "y", fill_color={"field": "value", "transform": mapper}, **options)
    bar = ColorBar(
        color_mapper=mapper, width=10, title=COLOURS[colour], background_fill_color=None,
        major_label_text_color=colours.text, title_text_color=colours.text,
    )  # fmt: skip
    plot.add_layout(bar, "right")


def _named(points: Sequence[MapPoint], most: int) -> list[str]:
    """Return the classes that get a colour of their own: the most frequent, in a fixed order."""
    counted = Counter(point.label for point in points if point.label != NOTHING)
    ordered = sorted(counted, key=lambda label: (-counted[label], label))
    return sorted(ordered[:most])


def _group(label: str, shade: dict[str, str]) -> str:
    return label if label in shade or label == NOTHING else OTHERS


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{100 * value:.0f} %"
