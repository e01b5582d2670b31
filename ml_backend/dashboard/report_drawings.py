"""Plots of a report: drawn as SVG, so that they show where no script runs (mail, print)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from markupsafe import Markup, escape

from ml_backend.dashboard.plots import DARK, LIGHT

SIZES = (("wide", 700, 240), ("narrow", 330, 220))
"""Each plot is drawn for screens and for phones, and the style shows one: text keeps its size."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 40


@dataclass(frozen=True)
class Series:
    """Points with their errors (None: not known); `shade` is a place in the palette."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    errors: Sequence[float | None]
    shade: int = 0


@dataclass(frozen=True)
class Band:
    """A curve with its band: low, middle and high at `x`."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    middle: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Axes:
    """What axes are called, how values are written, and the ends that are wanted."""

    x: str
    y: str
    x_text: Callable[[float], str] = lambda value: f"{value:,.0f}"
    y_text: Callable[[float], str] = lambda value: f"{value:,.0f}"
    y_most: float | None = None
    level: float | None = None
    """Where a dotted line is drawn."""
    level_name: str = ""


@dataclass
class _Canvas:
    """A plane of numbers on a drawing of `width` x `height`."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return (
            round(_LEFT + across * (self.width - _LEFT - _RIGHT), 1),
            round(self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM), 1),
        )

    def text(self, x: float, y: float, said: str, anchor: str = "middle", turn: str = "") -> None:
        self.parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}"{turn}>{escape(said)}</text>'
        )

    def line(self, a: tuple[float, float], b: tuple[float, float], kind: str) -> None:
        self.parts.append(f'<line class="{kind}" x1="{a[0]}" y1="{a[1]}" x2="{b[0]}" y2="{b[1]}"/>')

    def grid(self, axes: Axes) -> None:
        for value in ticks(*self.y, 4):
            x, y = self.at(self.x[0], value)
            self.line((x, y), (self.width - _RIGHT, y), "grid")
            self.text(x - 6, y + 4, axes.y_text(value), "end")
        middle = (_TOP + self.height - _BOTTOM) / 2
        self.text(12, middle, axes.y, turn=f' transform="rotate(-90 12 {middle})"')
        self.text((_LEFT + self.width - _RIGHT) / 2, self.height - 4, axes.x)

    def svg(self, kind: str) -> str:
        return (
            f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" aria-hidden="true" '
            f'viewBox="0 0 {self.width} {self.height}">{"".join(self.parts)}</svg>'
        )


def bars(days: Mapping[date, Mapping[str, int]], names: Mapping[str, str], said: str) -> Markup:
    """Draw votes per day, stacked by person; days follow each other.

    Parameters
    ----------
    days : mapping
        Votes by person, by day.
    names : mapping
        What each person is called, in the order of the stack.
    said : str
        What the plot shows, for those who cannot see it.
    """
    most = max((sum(row.values()) for row in days.values()), default=0)
    made = []
    for kind, width, height in SIZES:
        canvas = _Canvas(width, height, (0.0, float(max(len(days), 1))), (0.0, _above(most)))
        canvas.grid(Axes("day (UTC)", "votes"))
        step = -(-len(days) // (7 if kind == "wide" else 4)) or 1
        for place, (day, row) in enumerate(days.items()):
            base = 0
            for shade, who in enumerate(names):
                count = row.get(who, 0)
                if count:
                    x0, y0 = canvas.at(place + 0.1, base + count)
                    x1, y1 = canvas.at(place + 0.9, base)
                    canvas.parts.append(
                        f'<rect class="s{shade % len(LIGHT.series)}" x="{x0}" y="{y0}" '
                        f'width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"/>'
                    )
                    base += count
            if place % step == 0:
                x, y = canvas.at(place + 0.5, 0.0)
                canvas.text(x, y + 16, f"{day.day} {day:%b}")
        made.append(canvas.svg(kind))
    present = {who for row in days.values() for who in row}
    key = [(f"s{at % len(LIGHT.series)}", names[who]) for at, who in enumerate(names)
           if who in present]  # fmt: skip
    return _figure(made, key, said)


def curves(series: Sequence[Series], axes: Axes, said: str, band: Band | None = None) -> Markup:
    """Draw points with error bars (± 1 standard error), and a forecast with its band."""
    x = [float(value) for one in series for value in one.x] + list(band.x if band else ())
    y = [
        value + sign * (error or 0.0)
        for one in series
        for value, error in zip(one.y, one.errors, strict=True)
        for sign in (-1, 1)
    ] + [*(band.low if band else ()), *(band.high if band else ())]
    if axes.level is not None:
        y.append(axes.level)
    low, high = max(min(y, default=0.0), 0.0), max(y, default=1.0)
    margin = 0.05 * ((high - low) or 1.0)
    if axes.y_most is not None:
        high = min(high, axes.y_most)
    span = (max(low - margin, 0.0), high + margin)
    across = (min(0.0, *x) if x else 0.0, (max(x) if x else 1.0) * 1.02 or 1.0)
    made = []
    for kind, width, height in SIZES:
        canvas = _Canvas(width, height, across, span)
        canvas.grid(axes)
        for value in ticks(*across, 6 if kind == "wide" else 4):
            at, bottom = canvas.at(value, span[0])
            canvas.text(at, bottom + 16, axes.x_text(value))
        if band is not None:
            _draw_band(canvas, band)
        if axes.level is not None:
            canvas.line(canvas.at(across[0], axes.level), canvas.at(across[1], axes.level), "level")
        for one in series:
            _draw_series(canvas, one)
        made.append(canvas.svg(kind))
    key = [(f"s{one.shade}", one.name) for one in series if len(one.x)]
    key += [("band", band.name)] if band is not None else []
    key += [("level", axes.level_name)] if axes.level is not None else []
    return _figure(made, key, said)


def colours() -> Markup:
    """Return the style of all plots, light and dark, in the dashboard's colours."""
    sheets = []
    for palette in (LIGHT, DARK):
        shades = "".join(f"--s{at}:{shade};" for at, shade in enumerate(palette.series))
        sheets.append(f":root{{{shades}}}")
    rules = "".join(
        f".chart .s{at}{{fill:var(--s{at});stroke:var(--s{at});background:var(--s{at})}}"
        for at in range(len(LIGHT.series))
    )
    return Markup(f"{sheets[0]}@media screen and (prefers-color-scheme:dark){{{sheets[1]}}}{rules}")


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values (1, 2 or 5 times a power of ten apart) in [low, high], about `most`."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10)
    at = next(at for at, factor in enumerate(factors) if factor * power >= rough * 0.999)
    found: list[float] = []
    for factor in (factors[at], factors[at] / 2):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        found = [round(place * step, 12) for place in range(first, last + 1)]
        # One value alone would not tell the scale.
        if len(found) > 1:
            break
    return found or [low]


def _above(most: int) -> float:
    """The upper end of counts: a little room, and never no height."""
    return max(most * 1.08, 4.0)


def _draw_band(canvas: _Canvas, band: Band) -> None:
    upper = [canvas.at(x, y) for x, y in zip(band.x, band.high, strict=True)]
    lower = [canvas.at(x, y) for x, y in zip(band.x, band.low, strict=True)]
    middle = [canvas.at(x, y) for x, y in zip(band.x, band.middle, strict=True)]
    canvas.parts.append(f'<polygon class="band" points="{_path(upper + lower[::-1])}"/>')
    canvas.parts.append(f'<polyline class="ahead" points="{_path(middle)}"/>')


def _draw_series(canvas: _Canvas, one: Series) -> None:
    spots = [canvas.at(x, y) for x, y in zip(one.x, one.y, strict=True)]
    parts = canvas.parts
    parts.append(f'<g class="s{one.shade}">')
    for x, y, error in zip(one.x, one.y, one.errors, strict=True):
        if error is not None:
            canvas.line(canvas.at(x, y - error), canvas.at(x, y + error), "error")
    parts.append(f'<polyline class="curve" points="{_path(spots)}"/>')
    parts += [f'<circle cx="{x}" cy="{y}" r="3.5"/>' for x, y in spots]
    parts.append("</g>")


def _path(spots: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in spots)


def _figure(drawings: Sequence[str], key: Sequence[tuple[str, str]], said: str) -> Markup:
    shown = "".join(
        f'<span><i class="{kind}"></i>{escape(name)}</span>' for kind, name in key
    )  # fmt: skip
    return Markup(
        f'<div class="chart"><div role="img" aria-label="{escape(said)}">{"".join(drawings)}</div>'
        f'<p class="key">{shown}</p></div>'
    )
