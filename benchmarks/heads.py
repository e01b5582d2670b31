"""Every head beside what people would use in its place, on real or named semi-real data.

``python benchmarks/heads.py detection masks --seed 0`` prints the tables of some parts, without
names those of all; ``--keep`` also writes each into ``benchmarks/results/heads_<part>.txt``. The
data is below ``GALAXYLOOP_DATA``; a part whose data is missing says so.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch
from parts import chosen, run_parts

PARTS = {
    "tree": ("gz2_sdss_votes",),
    "parameters": ("cosmos_hst_stamps",),
    "interest": ("decals_rings", "spacewarps_lens_candidates"),
    "detection": ("sdss_composite_scenes",),
    "masks": ("sdss_composite_scenes",),
    "restoration": ("cosmos_hst_stamps", "gz1_sdss_6class", "decals_rings"),
}
"""Each part, and the sets that it needs."""


def main() -> int:
    """Run the parts that are named."""
    given = chosen(__doc__, PARTS)
    folder = os.environ.get("GALAXYLOOP_DATA")
    if not folder:
        given.error("GALAXYLOOP_DATA names no folder of data")
    data = Path(folder)
    about = f"{platform.machine()}, torch {torch.__version__}"
    return run_parts(
        given, PARTS, data, str(data), "downstream", "heads", about,
        lambda: f", {torch.get_num_threads()} threads",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
