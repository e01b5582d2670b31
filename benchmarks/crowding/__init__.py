"""Parts of `benchmarks/crowd.py`."""
