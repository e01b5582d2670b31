"""Every head passes the same tests: fit, predict, answer, survive, be kept.

A head joins by a file ``case_<head>.py`` beside this one, with a list ``CASES``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from head_case import HeadCase
from safetensors.numpy import load_file, save_file

from models.answers import Answer
from models.heads import Head, HeadError, load_head
from models.heads.base import _KINDS

CASES = {
    case.name: case
    for path in sorted(Path(__file__).parent.glob("case_*.py"))
    for case in importlib.import_module(path.stem).CASES
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> HeadCase:
    return CASES[request.param]


@cache
def fitted(name: str) -> tuple[Head, Any, Any]:
    """Fit a case once for all tests that only look at it."""
    seen, targets = CASES[name].data(CASES[name].few, 0)
    return CASES[name].make().fit(seen, targets, seed=1), seen, targets


def rows(values: Any, chosen: Any) -> Any:
    """Return rows of an array or a sequence."""
    return values[chosen] if isinstance(values, np.ndarray) else [values[i] for i in chosen]


def told(head: Head, seen: Any) -> str:
    """Return all that a head says, in one string."""
    doubt = head.uncertainty(seen)
    return f"{_plain(head.predict(seen))}{head.answers(seen)}{doubt.tolist()}"


def _plain(said: Any) -> str:
    if isinstance(said, np.ndarray):
        return str(said.tolist())
    if hasattr(said, "__dataclass_fields__"):
        return str({name: _plain(getattr(said, name)) for name in said.__dataclass_fields__})
    if isinstance(said, (list, tuple)):
        return str([_plain(item) for item in said])
    return repr(said)


def test_every_kind_of_head_is_under_test() -> None:
    made = {case.make().kind for case in CASES.values()}
    known = {kind for kind, cls in _KINDS.items() if cls.__module__.startswith("models.")}
    assert made == known


def test_what_it_says_has_a_row_per_image(case: HeadCase) -> None:
    head, _, _ = fitted(case.name)
    seen, _ = case.data(5, 7)
    assert len(head.predict(seen)) == 5
    doubt = head.uncertainty(seen)
    assert doubt.shape == (5,)
    assert np.isfinite(doubt).all()
    assert doubt.min() >= 0
    assert doubt.max() <= 1
    answers = head.answers(seen)
    assert len(answers) == 5
    for answer in (one for row in answers for one in row):
        assert isinstance(answer, Answer)
        assert answer.score is None or 0 <= answer.score <= 1


def test_no_images_give_no_rows(case: HeadCase) -> None:
    head, seen, _ = fitted(case.name)
    none = seen[:0]
    assert len(head.predict(none)) == 0
    assert head.answers(none) == []
    assert head.uncertainty(none).shape == (0,)


def test_what_it_says_of_an_image_owes_nothing_to_the_others(case: HeadCase) -> None:
    head, _, _ = fitted(case.name)
    seen, _ = case.data(4, 8)
    together = head.answers(seen)
    alone = [head.answers(seen[i : i + 1])[0] for i in range(4)]
    assert [[type(a) for a in row] for row in together] == [[type(a) for a in row] for row in alone]
    np.testing.assert_allclose(
        head.uncertainty(seen),
        np.concatenate([head.uncertainty(seen[i : i + 1]) for i in range(4)]),
        atol=2e-3,
    )


def test_the_seed_decides(case: HeadCase) -> None:
    head, seen, targets = fitted(case.name)
    again = case.make().fit(seen, targets, seed=1)
    unseen, _ = case.data(4, 9)
    assert told(again, unseen) == told(head, unseen)


def test_it_learns(case: HeadCase) -> None:
    """Better on new images than the same head that learned from shuffled answers."""
    head, seen, targets = fitted(case.name)
    order = np.roll(np.random.default_rng(0).permutation(case.few), 1)
    confused = case.make().fit(seen, rows(targets, order), seed=1)
    unseen, truth = case.data(max(case.few, 30), 11)
    losses = head.losses(head.predict(unseen), truth)
    assert losses.shape == (len(unseen),)
    assert np.isfinite(losses).all()
    assert losses.min() >= 0
    assert losses.mean() < 0.9 * confused.losses(confused.predict(unseen), truth).mean()


def test_out_of_fold_is_honest(case: HeadCase) -> None:
    """What is said of a training image by models without it is no better than on new images."""
    head, seen, targets = fitted(case.name)
    assert head.out_of_fold is not None
    assert len(head.out_of_fold) == len(seen)
    mine = head.losses(head.out_of_fold, targets)
    unseen, truth = case.data(max(case.few, 60), 12)
    new = head.losses(head.predict(unseen), truth)
    error = np.hypot(mine.std() / len(mine) ** 0.5, new.std() / len(new) ** 0.5)
    assert mine.mean() > new.mean() - 3 * error - 0.02


def test_weights_may_be_given(case: HeadCase) -> None:
    _, seen, targets = fitted(case.name)
    weights = np.linspace(1, 3, case.few)
    head = case.make().fit(seen, targets, weights, seed=1)
    assert len(head.predict(seen[:3])) == 3


def test_one_image_is_survived(case: HeadCase) -> None:
    if not case.one:
        pytest.skip("says so in its case")
    seen, targets = case.data(1, 3)
    head = case.make().fit(seen, targets)
    unseen, _ = case.data(3, 4)
    assert np.isfinite(head.uncertainty(unseen)).all()
    assert len(head.answers(unseen)) == 3


def test_kept_and_read_back(case: HeadCase, tmp_path: Path) -> None:
    head, _, _ = fitted(case.name)
    head.save(tmp_path / "a")
    unseen, _ = case.data(4, 5)
    for again in (load_head(tmp_path / "a"), type(head).load(tmp_path / "a")):
        assert type(again) is type(head)
        assert again.labels == head.labels
        assert again.dimension == head.dimension
        assert told(again, unseen) == told(head, unseen)
    again.save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.suffix in {".json", ".safetensors"}
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_unfitted_heads_say_so(case: HeadCase, tmp_path: Path) -> None:
    head = case.make()
    seen, _ = case.data(2, 1)
    for use in (head.predict, head.uncertainty, head.answers):
        with pytest.raises(HeadError):
            use(seen)
    with pytest.raises(HeadError):
        head.save(tmp_path)
    with pytest.raises(HeadError):
        _ = head.dimension


def test_broken_input_is_refused(case: HeadCase) -> None:
    seen, targets = case.data(6, 2)
    with pytest.raises(HeadError):
        case.make().fit(seen[:0], targets[:0])
    with pytest.raises(HeadError):
        case.make().fit(seen, targets[:4])
    with pytest.raises(HeadError):
        case.make().fit(seen, targets, np.ones(3))
    with pytest.raises(HeadError):
        case.make().fit(seen, targets, np.full(6, np.nan))
    if isinstance(seen, np.ndarray):
        spoilt = seen.copy()
        spoilt[2, 0] = np.nan
        with pytest.raises(HeadError):
            case.make().fit(spoilt, targets)
        with pytest.raises(HeadError):
            fitted(case.name)[0].predict(np.zeros((2, seen.shape[1] + 1), np.float32))


def _tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "head.safetensors")
        change(tensors)
        save_file(tensors, folder / "head.safetensors")

    return damage


def _not_finite(tensors: dict[str, Any]) -> None:
    name = next(n for n in sorted(tensors) if tensors[n].size and tensors[n].dtype.kind == "f")
    tensors[name] = np.full_like(tensors[name], np.nan)


def _misshapen(tensors: dict[str, Any]) -> None:
    for name, values in tensors.items():
        tensors[name] = np.zeros((*values.shape, 3), values.dtype)


def _config(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "head.json").read_text())
        (folder / "head.json").write_text(json.dumps({**config, **changes}))

    return damage


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no config": lambda f: (f / "head.json").unlink(),
    "half a config": lambda f: (f / "head.json").write_text('{"format": 1, "kind'),
    "another format": _config(format=99),
    "another kind": _config(kind="oracle"),
    "labels of another type": _config(labels=[1, 2]),
    "no labels": _config(labels=[]),
    "values of another type": _config(values=[]),
    "no tensors": lambda f: (f / "head.safetensors").unlink(),
    "an empty file": lambda f: (f / "head.safetensors").write_bytes(b""),
    "a truncated file": lambda f: (f / "head.safetensors").write_bytes(
        (f / "head.safetensors").read_bytes()[:-4]
    ),
    "no tensor in it": _tensors(dict.clear),
    "a tensor of NaN": _tensors(_not_finite),
    "misshapen tensors": _tensors(_misshapen),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_broken_files_are_refused(
    case: HeadCase, damage: Callable[[Path], Any], tmp_path: Path
) -> None:
    fitted(case.name)[0].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(HeadError):
        load_head(tmp_path)
