"""What the results say, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from efficiency.curves import Curve, label_ratio, labels_needed, ratio_at_best

BASELINE, ACTIVE, RANDOM = "resnet18", "lvm_active", "lvm_random"
LEVELS = (0.70, 0.75, 0.80, 0.85, 0.875, 0.90, 0.925, 0.95)

Curves = Mapping[str, Curve]


def report(curves: Mapping[str, Curves], titles: Mapping[str, str]) -> Iterator[str]:
    """Give the report line by line.

    Parameters
    ----------
    curves : mapping of set to mapping of arm to Curve
    titles : mapping of arm to str
        In the order in which they are shown.
    """
    for name, arms in curves.items():
        yield f"\n## {name}"
        yield from _means(arms, titles)
        yield from _levels(arms, titles)
    yield "\n## Ratios"
    yield from _at_best(curves)
    yield from _matched(curves)


def _means(arms: Curves, titles: Mapping[str, str]) -> Iterator[str]:
    numbers = sorted({int(n) for curve in arms.values() for n in curve.numbers})
    yield "macro AUC on the held-out third, mean ± standard deviation over the seeds"
    yield "| labels | seeds | " + " | ".join(map(str, numbers)) + " |"
    yield "|---" * (len(numbers) + 2) + "|"
    for arm, title in titles.items():
        if arm not in arms:
            continue
        curve = arms[arm]
        at = {
            int(n): f"{mean:.3f}±{spread:.3f}"
            for n, mean, spread in zip(curve.numbers, curve.mean, curve.spread, strict=True)
        }
        cells = " | ".join(at.get(n, "") for n in numbers)
        yield f"| {title} | {len(curve.seeds)} | {cells} |"


def _levels(arms: Curves, titles: Mapping[str, str]) -> Iterator[str]:
    shown = [arm for arm in titles if arm in arms]
    levels = [
        level
        for level in LEVELS
        if any(np.isfinite(labels_needed(arms[a], level).labels) for a in shown)
    ]
    if not levels:
        return
    yield "\nlabels needed to hold a macro AUC (linear in the logarithm of the labels)"
    yield "| AUC | " + " | ".join(titles[arm] for arm in shown) + " | active : random |"
    yield "|---" * (len(shown) + 2) + "|"
    for level in levels:
        cells = [str(labels_needed(arms[arm], level)) for arm in shown]
        share = _share(arms, level)
        cells.append("-" if share is None else f"{share:.0%}")
        yield f"| {level:.3g} | " + " | ".join(cells) + " |"


def _share(arms: Curves, level: float) -> float | None:
    """Labels of the active arm for a level as a share of those of the random one.

    None where either does not reach it, or does so with the fewest labels that were tried.
    """
    if ACTIVE not in arms or RANDOM not in arms:
        return None
    ratio = label_ratio(arms[ACTIVE], arms[RANDOM], level)
    known = np.isfinite(ratio.value) and ratio.value > 0 and not ratio.at_least
    exact = not labels_needed(arms[ACTIVE], level).at_most
    return ratio.value if known and exact else None


def _at_best(curves: Mapping[str, Curves]) -> Iterator[str]:
    yield "labels of ResNet18 : labels of the active arm, at the best macro AUC of ResNet18"
    yield "| set | best AUC | its labels | active needs | ratio |"
    yield "|---|---|---|---|---|"
    for name, arms in curves.items():
        if BASELINE in arms and ACTIVE in arms:
            level, labels = arms[BASELINE].best()
            needed = labels_needed(arms[ACTIVE], level)
            ratio = ratio_at_best(arms[BASELINE], arms[ACTIVE])
            yield f"| {name} | {level:.3f} | {labels} | {needed} | {ratio} |"


def _matched(curves: Mapping[str, Curves]) -> Iterator[str]:
    yield "\nlabels of the active order : labels of the random order, at equal macro AUC"
    yield "(geometric mean over levels 0.01 apart that both reach with more than the fewest labels)"
    yield "| set | levels | active : random |"
    yield "|---|---|---|"
    for name, arms in curves.items():
        found = [(level, _share(arms, level)) for level in np.arange(0.50, 1.0, 0.01)]
        shares: Sequence[tuple[float, float]] = [(a, b) for a, b in found if b is not None]
        if shares:
            mean = np.exp(np.mean(np.log([share for _, share in shares])))
            yield f"| {name} | {shares[0][0]:.2f} to {shares[-1][0]:.2f} | {mean:.0%} |"
        else:
            yield f"| {name} | none | - |"
