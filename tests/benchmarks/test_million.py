"""The benchmark of a large store runs at a small size, and times what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import million
import pytest
from large_store import PROJECT

from ml_backend.loop.figures import MAKERS
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store
from ml_backend.store.figures import kept_figure


def test_a_small_store_is_filled_and_everything_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    sizes = ["--tasks", "300", "--votes", "600", "--people", "15", "--dimension", "4"]
    monkeypatch.setattr("sys.argv", ["million.py", *sizes, "--folder", str(tmp_path)])
    million.main()
    printed = capsys.readouterr().out
    for name in MAKERS:
        assert printed.count(f"figure {name} ") == 2
    for page in million.PAGES:
        assert f"page {page} " in printed
    for step in ("load_pool", "settle", "rank"):
        assert printed.count(f": {step} ") == 2
    store = open_store(load_settings(_env_file=None, model_dir=tmp_path))
    try:
        figure = kept_figure(store, PROJECT, "progress")
        assert figure is not None
        counts = figure.data["counts"]
        assert counts["tasks"] == 300
        # The ten new votes have moved the tallies, too.
        assert counts["votes"] + counts["skips"] == 600 + million.NEW
        kept = store.projects.counts(PROJECT)
        assert (kept["votes"], kept["skips"]) == (counts["votes"], counts["skips"])
        assert kept["annotators"] == len([p for p in figure.data["people"] if p["votes"]])
    finally:
        store.close()
