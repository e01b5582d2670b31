from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_backend.demo import DemoOptions
from ml_backend.errors import DemoError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"annotators": -1}, "--annotators"),
        ({"annotators": 3, "error_rate": 1.0}, "--error-rate"),
        ({"annotators": 3, "error_rate": float("nan")}, "--error-rate"),
        ({"annotators": 3, "votes": 0}, "--votes"),
        ({"votes": 10}, "--annotators 3"),
        ({"annotators": 3, "images": Path()}, "--labels"),
        ({"label_column": "ring"}, "--labels"),
        ({"json": Path("curve.json")}, "--labels"),
        ({"port": 8080}, "both 8080"),
        ({"seed": -1}, "--seed"),
        ({"galaxies": 3}, "--galaxies"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DemoError, match=said):
        DemoOptions(**options)


def test_a_third_is_held_out_only_where_the_truth_is_used() -> None:
    assert not DemoOptions().measured
    assert not DemoOptions(images=Path()).measured
    assert DemoOptions(annotators=1).measured
    assert DemoOptions(labels=Path("labels.csv")).measured
