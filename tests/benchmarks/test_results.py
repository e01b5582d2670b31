"""Results survive an interruption, and are never mixed with those of something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from efficiency.arms import Arm, doublings, fourfolds, with_nothing
from efficiency.report import report
from efficiency.results import Result, ResultsFile, curve_of, digest
from label_efficiency import curves_of, measure
from labelled_sets import LabelledSet

ONE = Result("resnet18", "decals_rings", 0, 20, "", "abc", 0.7, 12.5)
SET = LabelledSet("decals_rings", (), ("no ring", "ring"), np.zeros(0, dtype=np.int64))


def arm(calls: list[list[int]], stop_after: int | None = None, settings: str = "abc") -> Arm:
    def run(data: LabelledSet, seed: int, numbers: list[int]) -> Iterator[tuple[int, float, float]]:
        calls.append(numbers)
        for place, number in enumerate(numbers):
            if place == stop_after:
                raise KeyboardInterrupt
            yield number, 0.5 + number / 1000, 1.0

    return Arm("resnet18", "ResNet18", settings, "", fourfolds, run)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    file, calls = ResultsFile(tmp_path / "results.jsonl"), []
    with pytest.raises(KeyboardInterrupt):
        measure(arm(calls, stop_after=1), SET, 0, [20, 80, 154], file)
    assert [result.labels for result in file.read()] == [20]
    measure(arm(calls), SET, 0, [20, 80, 154], file)
    measure(arm(calls), SET, 0, [20, 80, 154], file)
    assert calls == [[20, 80, 154], [80, 154]]
    assert [result.labels for result in file.read()] == [20, 80, 154]


def test_a_line_that_was_cut_short_is_computed_again(tmp_path: Path) -> None:
    file, calls = ResultsFile(tmp_path / "results.jsonl"), []
    measure(arm(calls), SET, 0, [20, 80], file)
    whole = file.path.read_text()
    file.path.write_text(whole[:-9])
    assert [result.labels for result in file.read()] == [20]
    measure(arm(calls), SET, 0, [20, 80], file)
    assert file.path.read_text() == whole
    assert calls == [[20, 80], [80]]


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[1]",
        "no json",
        json.dumps({**asdict(ONE), "macro_auc": 1.5}),
        json.dumps({**asdict(ONE), "macro_auc": "high"}),
        json.dumps({**asdict(ONE), "labels": True}),
        json.dumps({**asdict(ONE), "more": 1}),
    ],
)
def test_a_broken_line_amid_others_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    good = json.dumps(asdict(ONE))
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(ValueError, match=r"line 2 is no result"):
        ResultsFile(path).read()


def test_another_lvm_seed_or_setting_is_another_result(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append(ONE)
    assert file.missing("resnet18", "decals_rings", 0, [80, 20, 20], "", "abc") == [80]
    for other in ({"seed": 1}, {"lvm": "new"}, {"settings": "new"}, {"arm": "x"}, {"set": "x"}):
        key = {
            "arm": "resnet18",
            "set": "decals_rings",
            "seed": 0,
            "lvm": "",
            "settings": "abc",
        }
        key.update(other)
        missing = file.missing(
            key["arm"], key["set"], key["seed"], [20], key["lvm"], key["settings"]
        )
        assert missing == [20], other


def test_stale_results_are_left_out_of_curves(capsys: pytest.CaptureFixture[str]) -> None:
    arms = {"resnet18": arm([])}
    results = [ONE, replace(ONE, settings="old", labels=80)]
    curves = curves_of(results, arms, ["decals_rings"], [0])
    assert curves["decals_rings"]["resnet18"].numbers.tolist() == [20]
    assert "1 results are of another LVM" in capsys.readouterr().err


def test_only_numbers_that_all_seeds_have_are_averaged() -> None:
    results = [ONE, replace(ONE, seed=1, macro_auc=0.9), replace(ONE, seed=1, labels=80)]
    curve = curve_of(results)
    assert curve is not None
    assert curve.numbers.tolist() == [20]
    assert curve.mean == pytest.approx([0.8])
    assert curve_of([ONE, replace(ONE, seed=1, labels=80)]) is None
    assert curve_of([]) is None


def test_a_digest_follows_settings_and_files(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text("one")
    first = digest({"a": 1, "b": 2}, [path])
    assert first == digest({"b": 2, "a": 1}, [path])
    assert first != digest({"a": 1, "b": 3}, [path])
    path.write_text("two")
    assert first != digest({"a": 1, "b": 2}, [path])


def test_numbers_end_with_the_whole_pool() -> None:
    assert doublings(154) == [5, 10, 20, 40, 80, 154]
    assert with_nothing(154)[0] == 0
    assert fourfolds(954) == [20, 80, 320, 954]
    assert fourfolds(279) == [20, 80, 279]
    assert fourfolds(20) == [20]


def test_the_report_gives_levels_and_ratios() -> None:
    def curve(arm: str, points: dict[int, float]) -> list[Result]:
        rows = [(n, seed, auc) for n, auc in points.items() for seed in range(3)]
        return [replace(ONE, arm=arm, labels=n, seed=seed, macro_auc=auc) for n, seed, auc in rows]

    curves = {
        "decals_rings": {
            "lvm_active": curve_of(curve("lvm_active", {5: 0.6, 20: 0.8, 80: 0.9})),
            "lvm_random": curve_of(curve("lvm_random", {5: 0.6, 80: 0.8, 320: 0.9})),
            "resnet18": curve_of(curve("resnet18", {20: 0.6, 2000: 0.8})),
        }
    }
    titles = {"lvm_active": "active", "lvm_random": "random", "resnet18": "ResNet18"}
    text = "\n".join(report(curves, titles))
    assert "| active | 3 | 0.600±0.000 | 0.800±0.000 | 0.900±0.000 |  |  |" in text
    assert "| 0.8 | 20 | 80 | 2000 | 25% |" in text
    assert "| decals_rings | 0.800 | 2000 | 20 | 100.0 (90 %: 100.0 to 100.0) |" in text
