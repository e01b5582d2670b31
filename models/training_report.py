"""What a training shows of itself: its losses (CSV, SVG) and what it reconstructs (PNG)."""

from __future__ import annotations

import csv
import html
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.frame import Frame
from models.rendering import encode_png
from models.stretch import asinh_stretch, sky_level

CURVE_TABLE = "curve.csv"
CURVE_CHART = "curve.svg"
SHEET = "reconstruction.png"
# Size of one chart and its margins, pixels.
WIDTH, HEIGHT, LEFT, TOP, GAP = 420, 130, 60, 24, 40
Curve = list[dict[str, float]]


def write_curve(folder: Path, curve: Curve) -> None:
    """Write the losses as a table and as a chart.

    Parameters
    ----------
    folder : Path
        It exists.
    curve : list of dict
        Each with "step" and the losses that were computed, means since the entry before.
    """
    names = list(dict.fromkeys(name for entry in curve for name in entry))
    table = io.StringIO()
    writer = csv.DictWriter(table, names or ["step"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    _replace(folder / CURVE_TABLE, table.getvalue().encode())
    _replace(folder / CURVE_CHART, curve_chart(curve).encode())


def curve_chart(curve: Curve) -> str:
    """Draw the losses as an SVG, one chart below the other, each on its own scale."""
    names = [n for n in dict.fromkeys(n for entry in curve for n in entry) if n != "step"]
    height = max(1, len(names)) * (HEIGHT + GAP) + TOP
    last = max((entry["step"] for entry in curve), default=1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 20}" height="{height}" '
        f'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, name in enumerate(names):
        top = TOP + index * (HEIGHT + GAP)
        points = [(entry["step"], entry[name]) for entry in curve if name in entry]
        low, high = min(y for _, y in points), max(y for _, y in points)
        span = high - low or 1.0
        line = " ".join(
            f"{LEFT + WIDTH * x / last:.1f},{top + HEIGHT * (1 - (y - low) / span):.1f}"
            for x, y in points
        )
        parts += [
            f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{html.escape(name)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" '
            'stroke="#ccc"/>',
            f'<text x="{LEFT - 6}" y="{top + 8}" text-anchor="end">{high:.3g}</text>',
            f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">{low:.3g}</text>',
            f'<text x="{LEFT + WIDTH}" y="{top + HEIGHT + 14}" text-anchor="end">'
            f"step {last:.0f}</text>",
            f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def write_sheet(folder: Path, frame: Frame, images: Tensor, hidden: Tensor, given: Tensor) -> None:
    """Write a sheet with one column per stamp; rows: what is shown, with patches hidden, given.

    Parameters
    ----------
    folder : Path
        It exists.
    frame : Frame
        How images were stretched.
    images, given : Tensor
        `[n, 3, s, s]`.
    hidden : Tensor
        bool `[n, s, s]`.
    """
    rows: list[list[NDArray[np.uint8]]] = [[], [], []]
    for image, mask, back in zip(images, hidden, given, strict=True):
        seen = _shown(frame, image, image)
        covered = seen.copy()
        covered[mask.numpy()] = 128
        for row, picture in zip(rows, (seen, covered, _shown(frame, back, image)), strict=True):
            row.append(np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=255))
    _replace(folder / SHEET, encode_png(np.concatenate([np.concatenate(r, 1) for r in rows])))


def _shown(frame: Frame, image: Tensor, reference: Tensor) -> NDArray[np.uint8]:
    """Draw one image `[3, s, s]`, linear flux on the scale of a reference's sky."""
    values = image.float().numpy()
    if frame.preprocessing.kind == "flux" and frame.preprocessing.stretch == "linear":
        levels = [sky_level(band) for band in reference.float().numpy()]
        values = asinh_stretch(values, levels=levels)
    return frame.picture(np.moveaxis(values, 0, -1), stretched=True)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)
