"""Plots in the page's colours: legends that fit on a phone, and axes of days."""

from __future__ import annotations

from ml_backend.dashboard.plots import DAY, LIGHT, legend_columns, name_days, new_plot


def test_a_legend_has_as_many_columns_as_a_phone_has_room_for() -> None:
    assert legend_columns(["merger", "ring"]) == 3
    assert legend_columns(["Annotator K7QX2", "others"]) == 2
    assert legend_columns(["spiral_anticlockwise, as people say"]) == 1
    assert legend_columns([]) == 3


def test_a_single_day_has_a_week_around_it() -> None:
    plot = new_plot(LIGHT, x_axis_type="datetime")
    plot.vbar(x=[100 * DAY], top=[5], width=DAY)
    name_days(plot, [100 * DAY])
    assert plot.x_range.end - plot.x_range.start > 7 * DAY
    assert plot.x_range.start < 94 * DAY
    assert max(plot.xaxis[0].ticker.ticks) == 100 * DAY


def test_many_days_keep_the_axis_that_fits_them() -> None:
    plot = new_plot(LIGHT, x_axis_type="datetime")
    before = plot.xaxis[0].ticker
    name_days(plot, [DAY * day for day in range(60)])
    assert plot.xaxis[0].ticker is before
