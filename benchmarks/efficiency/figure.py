"""The figure: macro AUC against the number of labels, a panel for each set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from efficiency.curves import Curve, ratio_at_best
from efficiency.report import ACTIVE, BASELINE

# Distinct for people who see colours otherwise (Okabe and Ito 2008), and by their dashes.
STYLES: dict[str, dict[str, Any]] = {
    "lvm_finetuned": {"color": "#CC79A7", "linestyle": "-"},
    "lvm_active": {"color": "#0072B2", "linestyle": "-"},
    "lvm_random": {"color": "#56B4E9", "linestyle": "--"},
    "resnet18": {"color": "#D55E00", "linestyle": "-"},
    "random_features": {"color": "#777777", "linestyle": ":"},
}
SHORT = {
    "lvm_finetuned": "active +\nfine-tuning",
    "lvm_active": "LVM, active",
    "lvm_random": "LVM, random",
    "resnet18": "ResNet18",
    "random_features": "untrained\nnetwork",
}
NAMES = {
    "gz1_sdss_6class": "Galaxy Zoo 1 (SDSS), 4 classes",
    "gz2_sdss_votes": "Galaxy Zoo 2 (SDSS), 4 classes",
    "decals_rings": "Rings (DESI Legacy), yes or no",
}
# Least distance of two labels, as a share of the axis.
APART = 0.075


def draw(curves: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Draw the panels and write them as the suffix of the path says (PNG, SVG, PDF).

    Parameters
    ----------
    curves : mapping of set to mapping of arm to Curve
        Lines are means over the seeds, bands one standard deviation to each side.
    path : Path
    """
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "galaxyloop", "axes.linewidth": 0.8})
    figure, panels = plt.subplots(
        1, len(curves), figsize=(4.1 * len(curves), 3.6), sharey=True, squeeze=False, dpi=160
    )
    values = [curve.mean for arms in curves.values() for curve in arms.values()]
    low = np.floor(20 * min(float(mean.min()) for mean in values)) / 20
    for panel, (name, arms) in zip(panels[0], curves.items(), strict=True):
        panel.set_ylim(low, 1.0)
        _panel(panel, name, arms)
    panels[0][0].set_ylabel("macro AUC on held-out galaxies")
    figure.tight_layout(w_pad=1.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata=None if path.suffix == ".png" else {"Date": None})
    plt.close(figure)


def _panel(panel: Any, name: str, arms: Mapping[str, Curve]) -> None:
    most = max(int(curve.numbers.max()) for curve in arms.values())
    ends = {}
    for arm, style in STYLES.items():
        if arm not in arms:
            continue
        curve = arms[arm]
        some = curve.numbers > 0
        numbers, mean, spread = curve.numbers[some], curve.mean[some], curve.spread[some]
        panel.fill_between(
            numbers, mean - spread, mean + spread, color=style["color"], alpha=0.15, linewidth=0
        )
        panel.plot(numbers, mean, marker="o", markersize=3, linewidth=1.6, **style)
        ends[arm] = float(mean[-1])
    panel.set_xscale("log")
    ticks = [n for n in (5, 10, 20, 40, 80, 160, 320, 640) if n < 0.6 * most] + [most]
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    panel.set_xlim(4.5, most * 3.4)
    panel.set_xlabel("labelled galaxies")
    panel.set_title(NAMES.get(name, name), fontsize=10)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    for arm, height in _apart(ends, *panel.get_ylim()).items():
        panel.text(
            most * 1.12, height, SHORT[arm], color=STYLES[arm]["color"], va="center", fontsize=8
        )
    if BASELINE in arms and ACTIVE in arms:
        _mark_ratio(panel, arms)


def _mark_ratio(panel: Any, arms: Mapping[str, Curve]) -> None:
    """Draw an arrow from what the baseline needs for its best level to what ours needs for it."""
    level, labels = arms[BASELINE].best()
    ratio = ratio_at_best(arms[BASELINE], arms[ACTIVE], draws=0)
    if not np.isfinite(ratio.value) or ratio.value <= 1:
        return
    ours = labels / ratio.value
    style = {"arrowstyle": "->", "color": "#333333", "linewidth": 0.9, "shrinkA": 3, "shrinkB": 1}
    panel.annotate("", xy=(ours, level), xytext=(labels, level), arrowprops=style)
    words = f"{'≥ ' if ratio.at_least else ''}{ratio.value:.0f} times fewer labels"
    panel.text(
        np.sqrt(ours * labels),
        level - 0.008,
        words,
        ha="center",
        va="top",
        fontsize=8,
        bbox={"color": "white", "alpha": 0.75, "pad": 1},
    )


def _apart(ends: Mapping[str, float], low: float, high: float) -> dict[str, float]:
    """Move the places of labels up or down until none covers another, keeping their order."""
    least = APART * (high - low)
    names = sorted(ends, key=ends.__getitem__)
    places = [ends[name] for name in names]
    for _ in range(200):
        moved = False
        for i in range(len(places) - 1):
            lack = least - (places[i + 1] - places[i])
            if lack > 1e-6:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
                moved = True
        if not moved:
            break
    return dict(zip(names, places, strict=True))
