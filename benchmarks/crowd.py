"""Figures of the crowd: how right its answers are, and how many votes they cost.

    python benchmarks/crowd.py votes [--seeds 3]    # Galaxy Zoo 2: votes per galaxy

Data: the sets under ``GALAXYLOOP_DATA`` (real galaxies and people's answers, not in the
repository).
"""

from __future__ import annotations

import argparse

from crowding.votes import measure_votes
from labelled_sets import data_folder


def main() -> int:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=["votes"], default=["votes"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    root = data_folder()
    if root is None:
        return 0
    measure_votes(root, arguments.seeds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
