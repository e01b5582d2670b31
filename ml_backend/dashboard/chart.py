"""The learning curve as an SVG drawing, made on the server and styled by the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 560, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 14, 30


@dataclass(frozen=True)
class CurvePoint:
    """One round: `votes` known, `quality` in [0, 1], and whether its version was published."""

    votes: int
    quality: float
    promoted: bool
    name: str


def learning_curve(points: Sequence[CurvePoint], measure: str) -> Markup:
    """Draw quality against votes.

    Parameters
    ----------
    points : sequence of CurvePoint
        In any order; fewer than two give an empty drawing.
    measure : str
        Name of the quality, for the axis and for screen readers.

    Returns
    -------
    Markup
        An ``<svg>`` element without styles or scripts (classes are styled by the page's CSS).
    """
    if len(points) < 2:
        return Markup("")
    points = sorted(points, key=lambda point: point.votes)
    most = max(point.votes for point in points) or 1
    low = max(0.0, min(point.quality for point in points) - 0.05)
    low = min(int(low * 10) / 10, 0.9)

    def x(votes: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * votes / most

    def y(quality: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1.0 - (quality - low) / (1.0 - low))

    parts = []
    for quality in (low, (low + 1.0) / 2, 1.0):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                _LEFT, WIDTH - _RIGHT, y(quality), y(quality)
            )
            + Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{:.2f}</text>').format(
                _LEFT - 6, y(quality) + 4, quality
            )
        )
    for votes, said, anchor in (
        (0, "0", "middle"),
        (most // 2, str(most // 2), "middle"),
        (most, f"{most} votes", "end"),
    ):
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                x(votes), HEIGHT - 8, anchor, said
            )
        )
    promoted = [point for point in points if point.promoted]
    path = " ".join(f"{x(point.votes):.1f},{y(point.quality):.1f}" for point in promoted)
    parts.append(Markup('<polyline class="curve" points="{}"/>').format(path))
    for point in points:
        parts.append(
            Markup(
                '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>'
            ).format(
                "kept" if point.promoted else "refused",
                x(point.votes),
                y(point.quality),
                f"{point.name}: {measure} {point.quality:.3f} at {point.votes} votes"
                + ("" if point.promoted else " (not published)"),
            )
        )
    label = f"{measure} against votes: {points[0].quality:.2f} to {points[-1].quality:.2f}"
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, label, Markup("").join(parts))
