"""The crowd: our posterior beside majority vote, Dawid-Skene, GLAD and MACE, and votes per galaxy.

``python benchmarks/crowd.py accuracy speed --seed 0`` prints the tables of some parts, without
names those of all; ``--keep`` also writes each into ``benchmarks/results/crowd_<part>.txt``. The
data is below ``GALAXYLOOP_DATA``; a part whose data is missing says so. The others are those of
crowd-kit, with its own settings, in the same run.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from parts import chosen, run_parts

PARTS = {
    "accuracy": ("crowd_labels",),
    "calibration": ("crowd_labels",),
    "speed": (),
    "votes": ("gz2_sdss_votes",),
}
"""Each part, and the sets that it needs."""


def main() -> int:
    """Run the parts that are named."""
    given = chosen(__doc__, PARTS)
    data = Path(os.environ.get("GALAXYLOOP_DATA", "") or "no data")
    where, about = f"GALAXYLOOP_DATA ({data})", platform.machine()
    return run_parts(given, PARTS, data, where, "crowding", "crowd", about, str)


if __name__ == "__main__":
    sys.exit(main())
