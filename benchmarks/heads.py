"""Every head beside what people would use in its place, on real or named semi-real data.

``python benchmarks/heads.py detection masks --seed 0`` prints the tables of some parts, without
names those of all; ``--keep`` also writes each into ``benchmarks/results/heads_<part>.txt``. The
data is below ``GALAXYLOOP_DATA``; a part whose data is missing says so.
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

import torch

PARTS = {
    "tree": ("gz2_sdss_votes",),
    "parameters": ("cosmos_hst_stamps",),
    "interest": ("decals_rings", "spacewarps_lens_candidates"),
    "detection": ("sdss_composite_scenes",),
    "masks": ("sdss_composite_scenes",),
    "restoration": ("cosmos_hst_stamps", "gz1_sdss_6class", "decals_rings"),
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
    folder = os.environ.get("GALAXYLOOP_DATA")
    if not folder:
        parser.error("GALAXYLOOP_DATA names no folder of data")
    data, lacking = Path(folder), False
    for part in given.parts or PARTS:
        absent = [name for name in PARTS[part] if not (data / name).is_dir()]
        if absent:
            print(f"{part}: skipped, {data} has no {', '.join(absent)}")
            lacking = True
            continue
        text = _Both()
        with contextlib.redirect_stdout(text):
            start = time.perf_counter()
            print(f"# {part}, seed {given.seed}, {platform.machine()}, torch {torch.__version__}")
            importlib.import_module(f"downstream.{part}").report(data, given.seed)
            print(f"({time.perf_counter() - start:.0f} s, {torch.get_num_threads()} threads)\n")
        if given.keep:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"heads_{part}.txt").write_text(text.getvalue(), encoding="utf-8")
    return int(lacking)


if __name__ == "__main__":
    sys.exit(main())
