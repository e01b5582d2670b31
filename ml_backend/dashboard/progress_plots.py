"""The plots of the Progress page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from ml_backend.dashboard.outlook import Outlook
from ml_backend.dashboard.plots import (
    DAY,
    Palette,
    add_error_bars,
    legend_below,
    name_days,
    new_plot,
)

_PLAIN = "pan,xwheel_zoom,box_zoom,reset,save"


def days_plot(
    days: Mapping[date, Mapping[str, int]],
    people: Sequence[str],
    colours: Palette,
) -> Any:
    """Return votes per day, stacked by person; `people` in the order of the stack."""
    from bokeh.models import HoverTool, NumeralTickFormatter

    plot = new_plot(colours, 280, x_axis_type="datetime", tools=_PLAIN, active_scroll=None)
    plot.xaxis.axis_label = "day (UTC)"
    plot.yaxis.axis_label = "votes"
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0")
    at = [_milliseconds(day) + DAY / 2 for day in days]
    present = {who for row in days.values() for who in row}
    stack = [who for who in people if who in present]
    stack += sorted(present - set(stack))
    data: dict[str, Any] = {"day": at, "total": [sum(row.values()) for row in days.values()]}
    for place, who in enumerate(stack):
        data[f"votes{place}"] = [row.get(who, 0) for row in days.values()]
    shades = [colours.series[place % len(colours.series)] for place in range(len(stack))]
    drawn = plot.vbar_stack(
        [f"votes{place}" for place in range(len(stack))],
        x="day", width=DAY * 0.85, color=shades, source=data,
        legend_label=stack,
    )  # fmt: skip
    about = [("day", "@day{%F}"), ("all votes", "@total")]
    for renderer, who, place in zip(drawn, stack, range(len(stack)), strict=True):
        plot.add_tools(
            HoverTool(
                renderers=[renderer],
                tooltips=[*about, (who, f"@votes{place}")],
                formatters={"@day": "datetime"},
            )
        )
    plot.y_range.start = 0
    name_days(plot, at)
    legend_below(plot, colours)
    return plot


def forecast_plot(found: Outlook, colours: Palette) -> Any:
    """Return accuracy against votes: versions with error bars, and the band of what is to come."""
    from bokeh.models import HoverTool, NumeralTickFormatter
    from bokeh.models.annotations import Span

    plot = new_plot(colours, 320, tools=_PLAIN, active_scroll=None)
    plot.xaxis.axis_label = "votes"
    plot.yaxis.axis_label = "accuracy on unseen answers"
    plot.yaxis.formatter = NumeralTickFormatter(format="0 %")
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    votes = [point.votes for point in found.points]
    quality = [point.quality for point in found.points]
    if found.curve is not None:
        grid = found.shown_votes
        low, middle, high = found.curve.quality(grid)
        plot.varea(
            x=grid, y1=low, y2=high, fill_color=colours.accent, fill_alpha=0.18,
            legend_label="80 % band",
        )  # fmt: skip
        plot.line(
            grid, middle, line_color=colours.accent, line_width=2, line_dash="dashed",
            legend_label="forecast",
        )  # fmt: skip
    add_error_bars(plot, votes, quality, [point.error for point in found.points], colours.text)
    drawn = plot.scatter(
        "votes", "quality", size=8, fill_color=colours.accent, line_color=colours.back,
        legend_label="versions (± 1 standard error)",
        source={
            "votes": votes, "quality": quality, "version": [p.version for p in found.points],
            "rows": [p.rows for p in found.points], "error": [p.error for p in found.points],
        },
    )  # fmt: skip
    plot.add_tools(
        HoverTool(
            renderers=[drawn],
            tooltips=[
                ("version", "@version"),
                ("votes", "@votes{0,0}"),
                ("accuracy", "@quality{0.0 %} ± @error{0.0 %}"),
                ("galaxies", "@rows{0,0}"),
            ],
        )
    )
    plot.add_layout(
        Span(
            location=found.wanted, dimension="width", line_color=colours.series[1],
            line_dash="dotted", line_width=2,
        )
    )  # fmt: skip
    bottom = min([*quality, found.wanted], default=0.5)
    plot.y_range.start = max(0.0, bottom - 0.08)
    plot.y_range.end = 1.01
    legend_below(plot, colours)
    return plot


def history_plot(rows: Sequence[Mapping[str, Any]], colours: Palette) -> Any:
    """Return the counts of the progress points against time."""
    from bokeh.models import HoverTool, NumeralTickFormatter

    plot = new_plot(colours, 260, x_axis_type="datetime", tools=_PLAIN, active_scroll=None)
    plot.xaxis.axis_label = "time (UTC)"
    plot.yaxis.axis_label = "galaxies"
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0")
    at = [datetime.fromisoformat(str(row["at"])).timestamp() * 1000 for row in rows]
    shown = (("labelled", "labelled"), ("retired", "retired"), ("doubt", "in doubt"),
             ("expert", "with experts"))  # fmt: skip
    for place, (name, said) in enumerate(shown):
        values = [row.get(name) or 0 for row in rows]
        if not any(values) and name != "labelled":
            continue
        shade = colours.series[place]
        source = {"at": at, "count": values, "votes": [row.get("votes") or 0 for row in rows]}
        line = plot.step(
            "at", "count", source=source, mode="after", line_color=shade, line_width=2,
            legend_label=said,
        )  # fmt: skip
        plot.scatter("at", "count", source=source, size=4, color=shade)
        plot.add_tools(
            HoverTool(
                renderers=[line],
                tooltips=[("time", "@at{%F %H:%M}"), (said, "@count{0,0}"),
                          ("votes", "@votes{0,0}")],
                formatters={"@at": "datetime"},
            )
        )  # fmt: skip
    plot.y_range.start = 0
    legend_below(plot, colours)
    return plot


def _milliseconds(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000
