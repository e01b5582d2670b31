"""Interactive plots: made by Bokeh on the server, shown by its script, in the page's colours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bokeh.embed import json_item
from bokeh.plotting import figure as bokeh_figure
from flask import Response, request


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


def plot_response(plot: Any) -> Response:
    """Answer a plot as JSON; the page's ``<div class="plot" data-plot="ADDRESS">`` shows it."""
    return Response(json.dumps(json_item(plot)), mimetype="application/json")
