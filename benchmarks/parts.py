"""Parts of a benchmark: each a module that prints its tables, run by name and kept by name."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


class _Both(io.StringIO):
    """Writes to a terminal and keeps what was written."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        return super().write(text)


def chosen(description: str | None, parts: Mapping[str, Sequence[str]]) -> argparse.Namespace:
    """Read which ``parts``, which ``seed`` and whether to ``keep``; ``error`` ends the program."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results, too")
    given = parser.parse_args()
    unknown = sorted(set(given.parts) - set(parts))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(parts)}")
    given.error = parser.error
    return given


def run_parts(
    given: argparse.Namespace,
    parts: Mapping[str, Sequence[str]],
    data: Path,
    where: str,
    package: str,
    prefix: str,
    about: str,
    ending: Callable[[], str],
) -> int:
    """Run what was chosen; return 1 where a part lacked its data, else 0.

    Parameters
    ----------
    given : Namespace
        Of `chosen`.
    parts : mapping
        Each part, and the sets that it needs.
    data : Path
        The folder of the sets.
    where : str
        What that folder is called where it lacks one.
    package : str
        Has a module with ``report(data, seed)`` for each part.
    prefix : str
        Of the files that are kept.
    about : str
        Behind the machine in the first line.
    ending : callable
        Makes what stands behind the seconds in the last line.
    """
    lacking = False
    for part in given.parts or parts:
        absent = [name for name in parts[part] if not (data / name).is_dir()]
        if absent:
            print(f"{part}: skipped, {where} has no {', '.join(absent)}")
            lacking = True
            continue
        text = _Both()
        with contextlib.redirect_stdout(text):
            start = time.perf_counter()
            print(f"# {part}, seed {given.seed}, {about}")
            importlib.import_module(f"{package}.{part}").report(data, given.seed)
            print(f"({time.perf_counter() - start:.0f} s{ending()})\n")
        if given.keep:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{prefix}_{part}.txt").write_text(text.getvalue(), encoding="utf-8")
    return int(lacking)
