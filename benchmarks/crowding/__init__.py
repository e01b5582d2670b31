"""What ``benchmarks/crowd.py`` measures, a module per part."""
