"""Interactive plots: made by Bokeh on the server, shown by its script, in the page's colours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.embed import json_item
from bokeh.plotting import figure as bokeh_figure
from flask import Response, request

DAY = 24 * 3600 * 1000.0
"""A day on a datetime axis, in milliseconds."""
_PHONE_WIDTH, _KEY_WIDTH, _SIGN_WIDTH = 300, 34, 7
"""Pixels of a plot on a phone, and of a legend's entry besides and per sign."""


@dataclass(frozen=True)
class Palette:
    """Colours of a plot (as in style.css), and of its series."""

    back: str
    text: str
    line: str
    accent: str
    series: tuple[str, ...]


LIGHT = Palette(
    "#ffffff", "#1c2033", "#dfe2ec", "#2f54c8",
    ("#2f54c8", "#c8552f", "#1d7a46", "#8a3fb0", "#b38600", "#00838f", "#b3261e", "#5c6379"),
)  # fmt: skip
DARK = Palette(
    "#191e30", "#e8eaf4", "#2d3450", "#8fb3ff",
    ("#8fb3ff", "#ffab8a", "#6fd19a", "#d3a1f0", "#e6c353", "#5fd3dd", "#ff8f86", "#a0a7be"),
)  # fmt: skip


def palette() -> Palette:
    """Return the colours that the browser asks for (``?theme=dark``)."""
    return DARK if request.args.get("theme") == "dark" else LIGHT


def new_plot(colours: Palette, height: int = 260, **options: Any) -> Any:
    """Return an empty figure in the page's colours, as wide as its place.

    `options` go to :func:`bokeh.plotting.figure`.
    """
    options = {"tools": "pan,wheel_zoom,box_zoom,reset,save", **options}
    plot = bokeh_figure(height=height, sizing_mode="stretch_width", **options)
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.background_fill_color = plot.border_fill_color = colours.back
    plot.outline_line_color = colours.line
    for axis in plot.axis:
        axis.axis_label_text_color = axis.major_label_text_color = colours.text
        axis.axis_line_color = axis.major_tick_line_color = colours.line
        axis.minor_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
    for grid in plot.grid:
        grid.grid_line_color = colours.line
    plot.title.text_color = colours.text  # type: ignore[union-attr]
    return plot


def add_error_bars(
    plot: Any, x: Sequence[float], y: Sequence[float], errors: Sequence[float], colour: str
) -> None:
    """Draw ± 1 standard error at points."""
    low = [value - error for value, error in zip(y, errors, strict=True)]
    high = [value + error for value, error in zip(y, errors, strict=True)]
    plot.segment(x0=list(x), y0=low, x1=list(x), y1=high, line_color=colour, line_alpha=0.6)


def legend_below(plot: Any, colours: Palette) -> None:
    """Put the legend below the plot, in as many columns as a phone has room for."""
    if not plot.legend:
        return
    legend = plot.legend[0]
    plot.add_layout(legend, "below")
    legend.orientation = "horizontal"
    legend.ncols = legend_columns(
        [str(getattr(item.label, "value", item.label) or "") for item in legend.items]
    )
    legend.location = "top_left"
    legend.margin = 0
    legend.background_fill_alpha = 0
    legend.border_line_color = None
    legend.label_text_color = colours.text
    legend.click_policy = "hide"


def legend_columns(labels: Sequence[str]) -> int:
    """Return how many columns of a legend fit beside each other on a phone, 1 to 3."""
    widest = _KEY_WIDTH + _SIGN_WIDTH * max((len(label) for label in labels), default=0)
    return max(1, min(3, _PHONE_WIDTH // widest))


def name_days(plot: Any, days: Sequence[float]) -> None:
    """Let an axis of a few days name each of them; `days` are their middles, in ms since 1970.

    At least a week is shown: a single bar as wide as the plot says nothing.
    """
    from bokeh.models import DatetimeTickFormatter, FixedTicker

    if not days or max(days) - min(days) >= 7 * DAY:
        return
    last = max(days)
    plot.x_range.start, plot.x_range.end = last - 6.6 * DAY, last + 0.6 * DAY
    plot.xaxis.ticker = FixedTicker(ticks=[last - back * DAY for back in range(0, 7, 2)])
    plot.xaxis.formatter = DatetimeTickFormatter(
        hours="%d %b", days="%d %b", months="%d %b", years="%d %b"
    )


def plot_response(plot: Any) -> Response:
    """Answer a plot as JSON; the page's ``<div class="plot" data-plot="ADDRESS">`` shows it."""
    return Response(json.dumps(json_item(plot)), mimetype="application/json")
