"""Results: one JSON line for each arm, set, seed and number of labels, appended as they come."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from efficiency.curves import Curve


@dataclass(frozen=True)
class Result:
    """What one arm reached on one split with one number of labels.

    Attributes
    ----------
    arm, set : str
    seed : int
        Of the split and of all that is random in the arm.
    labels : int
        How many galaxies of the pool were labelled.
    lvm : str
        Identity of the LVM; empty for arms without one.
    settings : str
        Digest of how the arm works, see `digest`.
    macro_auc : float
        On the held-out third, in [0, 1].
    seconds : float
        Processor time since the result before it.
    """

    arm: str
    set: str
    seed: int
    labels: int
    lvm: str
    settings: str
    macro_auc: float
    seconds: float


class ResultsFile:
    """A file of results that a run which was interrupted goes on with.

    Parameters
    ----------
    path : Path
        Made with the first result.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Result]:
        """Return all results; of two for the same, the later one.

        Raises
        ------
        ValueError
            A line other than the last is not a result; it is named. A last line that an
            interruption cut short is left out.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        found = {}
        for place, line in enumerate(lines, start=1):
            try:
                result = _result(json.loads(line))
            except (ValueError, TypeError) as error:
                if place == len(lines):
                    break
                message = f"{self.path}, line {place} is no result ({error}); mend or delete it."
                raise ValueError(message) from None
            found[_key(result)] = result
        return list(found.values())

    def append(self, result: Result) -> None:
        """Write a result, whole, before anything else is computed."""
        before = self.path.read_bytes() if self.path.exists() else b""
        if before and not before.endswith(b"\n"):
            # A line that was cut short must not swallow the next one.
            self.path.write_bytes(before[: before.rfind(b"\n") + 1])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def missing(
        self, arm: str, set_: str, seed: int, numbers: Iterable[int], lvm: str, settings: str
    ) -> list[int]:
        """Return those numbers of labels of which there is no result yet, rising."""
        done = {_key(result) for result in self.read()}
        wanted = sorted(set(numbers))
        return [n for n in wanted if (arm, set_, seed, n, lvm, settings) not in done]


def digest(settings: dict[str, Any], files: Iterable[Path] = ()) -> str:
    """Return 12 hexadecimal digits that change with the settings or the content of the files."""
    sum_ = blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6)
    for path in sorted(files):
        sum_.update(path.name.encode() + b"\0" + path.read_bytes())
    return sum_.hexdigest()


def curve_of(results: Iterable[Result], seeds: Iterable[int] | None = None) -> Curve | None:
    """Gather the results of one arm on one set.

    Numbers of labels that not every seed has are left out, so that a mean never jumps because
    another seed joins.

    Parameters
    ----------
    results : iterable of Result
        Of one arm and one set.
    seeds : iterable of int, optional
        Only these.

    Returns
    -------
    Curve or None
        None without any number that all seeds share.
    """
    table: dict[int, dict[int, float]] = {}
    allowed = None if seeds is None else set(seeds)
    for result in results:
        if allowed is None or result.seed in allowed:
            table.setdefault(result.seed, {})[result.labels] = result.macro_auc
    shared = set.intersection(*(set(row) for row in table.values())) if table else set()
    numbers = sorted(shared)
    if not numbers:
        return None
    names = sorted(table)
    values = np.array([[table[seed][n] for n in numbers] for seed in names])
    return Curve(np.array(numbers, dtype=np.int64), values, tuple(names))


def _key(result: Result) -> tuple[str, str, int, int, str, str]:
    return (
        result.arm,
        result.set,
        result.seed,
        result.labels,
        result.lvm,
        result.settings,
    )


def _result(values: Any) -> Result:
    wanted = {field.name for field in fields(Result)}
    if not isinstance(values, dict) or set(values) != wanted:
        raise ValueError(f"it must hold {', '.join(sorted(wanted))}")
    for name, kind in {"seed": int, "labels": int, "macro_auc": float, "seconds": float}.items():
        if isinstance(values[name], bool) or not isinstance(values[name], int | kind):
            raise ValueError(f"{name} must be a number, not {values[name]!r}")
    if not 0 <= values["macro_auc"] <= 1:
        raise ValueError(f"macro_auc must be in [0, 1], not {values['macro_auc']}")
    return Result(**values)
