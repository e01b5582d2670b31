"""Puts the benchmarks' modules within reach of their tests, as the scripts have them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
