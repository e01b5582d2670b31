"""The crowd: our posterior beside majority vote, Dawid-Skene, GLAD and MACE, and votes per galaxy.

``python benchmarks/crowd.py accuracy speed --seed 0`` prints the tables of some parts, without
names those of all; ``--keep`` also writes each into ``benchmarks/results/crowd_<part>.txt``. The
data is below ``GALAXYLOOP_DATA``; a part whose data is missing says so. The others are those of
crowd-kit, with its own settings, in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import platform
import sys
import time
from pathlib import Path

PARTS = {
    "accuracy": ("crowd_labels",),
    "calibration": ("crowd_labels",),
    "speed": (),
    "votes": ("gz2_sdss_votes",),
}
"""Each part, and the sets that it needs."""

RESULTS = Path(__file__).parent / "results"


class _Both(io.StringIO):
    """Writes to a terminal and keeps what was written."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        return super().write(text)


def main() -> int:
    """Run the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results, too")
    given = parser.parse_args()
    unknown = sorted(set(given.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(PARTS)}")
    data = Path(os.environ.get("GALAXYLOOP_DATA", "") or "no data")
    lacking = False
    for part in given.parts or PARTS:
        absent = [name for name in PARTS[part] if not (data / name).is_dir()]
        if absent:
            print(f"{part}: skipped, GALAXYLOOP_DATA ({data}) has no {', '.join(absent)}")
            lacking = True
            continue
        text = _Both()
        with contextlib.redirect_stdout(text):
            start = time.perf_counter()
            print(f"# {part}, seed {given.seed}, {platform.machine()}")
            importlib.import_module(f"crowding.{part}").report(data, given.seed)
            print(f"({time.perf_counter() - start:.0f} s)\n")
        if given.keep:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"crowd_{part}.txt").write_text(text.getvalue(), encoding="utf-8")
    return int(lacking)


if __name__ == "__main__":
    sys.exit(main())
