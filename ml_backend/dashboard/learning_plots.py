"""The plots of the Learning page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_backend.dashboard.learning_rows import MEASURES, ControlLearning, Measured, Saved
from ml_backend.dashboard.plots import Palette, add_error_bars, legend_below, new_plot

_TOOLS = "pan,xwheel_zoom,box_zoom,reset,save"
_SHARES = frozenset({"accuracy", "calibration_error"})


def curve_plot(control: ControlLearning, measure: str, colours: Palette) -> Any:
    """Return a measure against votes, on all unseen answers and on the audit arm."""
    from bokeh.models import NumeralTickFormatter

    plot = new_plot(colours, 320, tools=_TOOLS, active_scroll=None)
    plot.xaxis.axis_label = "votes"
    plot.yaxis.axis_label = MEASURES[measure]
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    if measure in _SHARES:
        plot.yaxis.formatter = NumeralTickFormatter(format="0 %")
    for points, name, shade, marker in (
        (control.seen.get(measure, ()), "all unseen answers", colours.accent, "circle"),
        (control.audit.get(measure, ()), "audit arm (random order)", colours.series[1], "square"),
    ):
        if points:
            _add_series(plot, points, name, shade, marker)
    legend_below(plot, colours)
    return plot


def calibration_plot(control: ControlLearning, colours: Palette) -> Any:
    """Return the reliability diagram: confidence against the share that was right."""
    from bokeh.models import HoverTool, NumeralTickFormatter

    plot = new_plot(colours, 320, tools=_TOOLS, active_scroll=None,
                    x_range=(0, 1), y_range=(0, 1.02))  # fmt: skip
    plot.xaxis.axis_label, plot.yaxis.axis_label = "confidence", "share right"
    plot.xaxis.formatter = plot.yaxis.formatter = NumeralTickFormatter(format="0 %")
    plot.line([0, 1], [0, 1], line_color=colours.text, line_dash="dashed", line_alpha=0.5,
              legend_label="perfect")  # fmt: skip
    sure = [row[0] for row in control.calibration]
    right = [row[1] for row in control.calibration]
    errors = [row[2] for row in control.calibration]
    counts = [row[3] for row in control.calibration]
    most = max(counts, default=1)
    add_error_bars(plot, sure, right, errors, colours.text)
    plot.line(sure, right, line_color=colours.accent, line_alpha=0.5)
    drawn = plot.scatter(
        "sure", "right", size="size", fill_color=colours.accent, line_color=colours.back,
        legend_label="answers (± 1 standard error)",
        source={
            "sure": sure, "right": right, "error": errors, "count": counts,
            "size": [6 + 14 * (count / most) ** 0.5 for count in counts],
        },
    )  # fmt: skip
    plot.add_tools(
        HoverTool(
            renderers=[drawn],
            tooltips=[("confidence", "@sure{0.0 %}"), ("right", "@right{0.0 %} ± @error{0.0 %}"),
                      ("answers", "@count{0,0}")],
        )
    )  # fmt: skip
    legend_below(plot, colours)
    return plot


def saved_plot(saved: Saved, colours: Palette) -> Any:
    """Return the learning curve of random order, and where the loop is."""
    from bokeh.models import NumeralTickFormatter

    plot = new_plot(colours, 280, tools=_TOOLS, active_scroll=None)
    plot.xaxis.axis_label = "labels learned from"
    plot.yaxis.axis_label = "log loss (nats)"
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    size = [point[0] for point in saved.curve]
    loss = [point[1] for point in saved.curve]
    add_error_bars(plot, size, loss, [point[2] for point in saved.curve], colours.text)
    shade = colours.series[1]
    plot.line(size, loss, line_color=shade, legend_label="random order")
    plot.scatter(size, loss, marker="square", size=8, color=shade, legend_label="random order")
    at = [saved.learned_from]
    add_error_bars(plot, at, [saved.loss], [saved.loss_error], colours.text)
    plot.scatter(at, [saved.loss], size=12, color=colours.accent, legend_label="the loop")
    plot.y_range.start = 0
    legend_below(plot, colours)
    return plot


def _add_series(plot: Any, points: Sequence[Measured], name: str, shade: str, marker: str) -> None:
    from bokeh.models import HoverTool

    known = [point for point in points if point.error is not None]
    add_error_bars(
        plot,
        [point.votes for point in known],
        [point.value for point in known],
        [point.error or 0.0 for point in known],
        shade,
    )
    votes, values = [p.votes for p in points], [p.value for p in points]
    plot.line(votes, values, line_color=shade, line_alpha=0.6, legend_label=name)
    drawn = plot.scatter(
        "votes", "value", marker=marker, size=8, color=shade, legend_label=name,
        source={
            "votes": votes, "value": values, "rows": [p.rows for p in points],
            "version": [p.version for p in points],
            "error": ["not kept" if p.error is None else f"{p.error:.4f}" for p in points],
        },
    )  # fmt: skip
    plot.add_tools(
        HoverTool(
            renderers=[drawn],
            tooltips=[("version", "@version"), ("votes", "@votes{0,0}"),
                      (name, "@value{0.0000} ± @error"), ("galaxies", "@rows{0,0}")],
        )
    )  # fmt: skip
