"""Which questions were asked of each task, by what is thought to be its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ml_backend.labelstudio.config import Control
from ml_backend.labelstudio.config.conditions import Condition

Bools = npt.NDArray[np.bool_]


def asked(
    controls: Sequence[Control],
    chosen: Mapping[str, tuple[Sequence[str], Bools]],
    count: int,
) -> dict[str, Bools]:
    """Tell, for many tasks at once, which controls the editor shows.

    The same rules as `labelstudio.config.conditions.shown`, which asks for one task.

    Parameters
    ----------
    controls : sequence of Control
    chosen : mapping of control to (labels, bool [count, k])
        The labels taken as chosen. A control that is not here has nothing chosen.
    count : int
        Number of tasks.

    Returns
    -------
    dict of str to bool [count]
        By control. One whose conditions go round in a circle is not asked.
    """
    known = {control.name: control for control in controls}
    found: dict[str, Bools] = {}
    waiting = set(known)
    # Each pass settles at least one, or the rest go round in a circle.
    while waiting:
        ready = {
            name
            for name in waiting
            if not (_looks_at(known[name].conditions, known) & waiting - {name})
            and name not in _looks_at(known[name].conditions, known)
        }
        if not ready:
            break
        for name in ready:
            seen = np.ones(count, np.bool_)
            for condition in known[name].conditions:
                seen &= _holds(condition, chosen, found, count)
            found[name] = seen
        waiting -= ready
    return {name: found.get(name, np.zeros(count, np.bool_)) for name in known}


def _looks_at(conditions: Sequence[Condition], known: Mapping[str, Control]) -> set[str]:
    """Names of the controls that conditions depend on; ones for any control depend on none."""
    return {
        condition.control
        for condition in conditions
        if condition.kind in ("choice-selected", "choice-unselected") and condition.control in known
    }


def _holds(
    condition: Condition,
    chosen: Mapping[str, tuple[Sequence[str], Bools]],
    found: Mapping[str, Bools],
    count: int,
) -> Bools:
    if condition.kind not in ("choice-selected", "choice-unselected"):
        return np.ones(count, np.bool_)
    names = [condition.control] if condition.control else list(chosen)
    met = np.zeros(count, np.bool_)
    for name in names:
        if name not in chosen:
            continue
        labels, marks = chosen[name]
        columns = [
            place
            for place, label in enumerate(labels)
            if not condition.labels or label in condition.labels
        ]
        # What is chosen in a hidden control counts as not given.
        met |= marks[:, columns].any(axis=1) & found.get(name, np.ones(count, np.bool_))
    return met if condition.kind == "choice-selected" else ~met
