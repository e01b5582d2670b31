"""``python -m ml_backend.cli`` is ``galaxyloop``."""

from ml_backend.cli import main

main(prog_name="galaxyloop")
