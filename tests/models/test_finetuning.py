from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_folders import save_encoder
from numpy.typing import NDArray

from models.finetuning import FEWEST, FinetuningOptions, finetune
from models.frame import Frame, central_views
from models.heads.base import HeadError
from models.heads.classification import SingleChoiceHead
from models.images import Preprocessing
from models.last_stage import LastStage, check_tunable
from models.lvm import LVM, LVMConfig, LVMError
from models.metrics import log_losses
from models.sources import load_lvm

SIDE = 32
QUICK = FinetuningOptions(epochs=2, views=8, batch=16, rate=1e-3)


def small(blocks: str = "convolution", seed: int = 0, **changes: object) -> LVM:
    torch.manual_seed(seed)
    fields: dict[str, object] = {
        "image_size": SIDE,
        "window": 2,
        "width": 8,
        "blocks": blocks,
        "depths": (1, 1, 2),
        "heads": (2, 2, 2),
        "pooling": ("mean2", "std1", "std2"),
        "decoder": False,
        "views": 4,
        "preprocessing": Preprocessing(kind="rgb8", size=SIDE),
    }
    return LVM(LVMConfig(**(fields | changes)))  # type: ignore[arg-type]


def stamps(n: int = 100, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Blobs with fine stripes across them, or the same blobs without."""
    rng = np.random.default_rng(seed)
    side = Frame.of(small().preprocessing).side
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    found, named = [], np.arange(n) % 2
    for striped in named:
        angle, width = rng.uniform(0, np.pi), rng.uniform(5, 9)
        blob = np.exp(-(x**2 + y**2) / (2 * width**2))
        stripes = 1 + 0.2 * striped * np.sin(1.2 * (x * np.cos(angle) + y * np.sin(angle)))
        noise = rng.normal(0, 0.06, (side, side))
        found.append(np.clip(150 * blob * stripes + 255 * noise + 20, 0, 255))
    grey = np.stack(found).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3), np.eye(2, dtype=np.float32)[named]


def plain(lvm: LVM, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = lvm.encode(central_views(canvases, SIDE, 1.0)).pooled.numpy()
    return rows


@pytest.mark.parametrize("blocks", ["attention", "convolution"])
@pytest.mark.parametrize("projection", [0, 5])
def test_before_tuning_it_embeds_as_the_lvm_does(blocks: str, projection: int) -> None:
    lvm = small(blocks, projection=projection)
    images = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    last = LastStage(lvm)
    found = last.encode(last.maps_as_encoded(images))
    # The kept maps are float16.
    torch.testing.assert_close(found, lvm.encode(images).pooled, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("blocks", ["attention", "convolution"])
def test_only_the_last_stage_changes_and_the_lvm_given_does_not(blocks: str) -> None:
    lvm = small(blocks, projection=6)
    identity, before = lvm.identity, {k: v.clone() for k, v in lvm.state_dict().items()}
    canvases, targets = stamps()
    tuned = finetune(lvm, canvases, targets, options=QUICK).lvm
    assert tuned is not None
    assert tuned.config == lvm.config
    assert tuned.identity != identity
    after = tuned.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(
        name.startswith(("encoder.merges.1.", "encoder.stages.2.", "encoder.norm.", "projection."))
        for name in changed
    )
    assert not any("running" in name for name in changed)
    assert any(name.startswith("projection.") for name in changed)
    assert all(torch.equal(value, lvm.state_dict()[name]) for name, value in before.items())


def test_tuning_helps_on_stamps_that_it_never_saw() -> None:
    lvm, (canvases, targets), (others, truth) = small(projection=3), stamps(200), stamps(seed=1)
    made = finetune(lvm, canvases, targets, options=replace(QUICK, epochs=4))
    assert made.lvm is not None, made.reason

    def loss_on_others(model: LVM) -> float:
        """Log loss on other stamps, of a head on the embeddings of those that were tuned on."""
        head = SingleChoiceHead(["plain", "striped"]).fit(plain(model, canvases), targets)
        return float(np.mean(log_losses(head.predict(plain(model, others)), truth, True)))

    assert loss_on_others(made.lvm) < 0.85 * loss_on_others(lvm)


def test_labels_that_mean_nothing_give_nothing() -> None:
    canvases, targets = stamps(80)
    shuffled = targets[np.random.default_rng(3).permutation(len(targets))]
    made = finetune(small(), canvases, shuffled, options=FinetuningOptions(epochs=2, views=2))
    assert made.lvm is None
    assert "gained nothing" in made.reason


def test_a_seed_gives_the_same_and_another_one_another() -> None:
    canvases, targets = stamps()
    first, again, other = (
        finetune(small(), canvases, targets, options=QUICK, seed=seed) for seed in (1, 1, 2)
    )
    assert first.losses == again.losses
    assert first.losses != other.losses
    assert first.lvm is not None
    assert again.lvm is not None
    assert first.lvm.identity == again.lvm.identity


def test_several_answers_and_weights() -> None:
    canvases, targets = stamps()
    many = np.concatenate([targets, 0.5 * np.ones((len(targets), 1), np.float32)], axis=1)
    weights = np.linspace(1, 3, len(targets))
    made = finetune(small(), canvases, many, weights, exclusive=False, options=QUICK)
    assert np.isfinite(made.losses).all()


def test_a_tuned_lvm_can_be_kept(tmp_path: Path) -> None:
    made = finetune(small(), *stamps(), options=QUICK)
    assert made.lvm is not None
    made.lvm.save_pretrained(tmp_path)
    assert load_lvm(tmp_path).identity == made.lvm.identity


def test_it_can_be_stopped_and_tells_how_far_it_is() -> None:
    shares: list[float] = []

    class Stop(Exception):
        pass

    def progress(share: float, message: str) -> None:
        assert message
        shares.append(share)
        if share > 0.5:
            raise Stop

    with pytest.raises(Stop):
        finetune(small(), *stamps(), options=QUICK, progress=progress)
    assert 0 <= min(shares) < 0.1
    assert max(shares) <= 1


def test_time_and_memory_are_bounded() -> None:
    hurried = FinetuningOptions(epochs=50, patience=50, views=2, batch=16, seconds=0.0)
    assert len(finetune(small(), *stamps(), options=hurried).losses) == 2
    # One view of each of 80 stamps takes 80 x 4 x 4 x 16 x 2 bytes and more: it keeps just one.
    tight = FinetuningOptions(epochs=1, views=8, batch=16, memory=1000)
    assert len(finetune(small(), *stamps(), options=tight).losses) == 2


def test_other_networks_are_named(tmp_path: Path) -> None:
    save_encoder(tmp_path, "convnextv2")
    with pytest.raises(LVMError, match=r"HuggingFaceEncoder is used as it is"):
        check_tunable(load_lvm(tmp_path))
    with pytest.raises(LVMError, match=r"single stage"):
        check_tunable(small("attention", depths=(2,), heads=(2,), pooling=("mean0",)))
    with pytest.raises(LVMError, match=r"mean0, std1"):
        check_tunable(small(pooling=("mean0", "std1")))
    flux = small(preprocessing=Preprocessing(kind="flux", size=SIDE))
    with pytest.raises(LVMError, match="measured flux"):
        finetune(flux, *stamps())


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda c, t, w: (c[: FEWEST - 1], t[: FEWEST - 1], None), HeadError, "at least 40"),
        (lambda c, t, w: (c[:, 1:], t, None), LVMError, r"uint8 canvases \[n, 64, 64, 3\]"),
        (lambda c, t, w: (c.astype(np.float32), t, None), LVMError, "float32"),
        (lambda c, t, w: (c, t[1:], None), HeadError, r"targets \[100, k\]"),
        (lambda c, t, w: (c, t, w[1:]), HeadError, r"weights \[100\]"),
        (lambda c, t, w: (c, 2 * t, None), HeadError, "between 0 and 1"),
        (lambda c, t, w: (c, t / 2, None), HeadError, "sum to 1"),
        (lambda c, t, w: (c, t * np.nan, None), HeadError, "between 0 and 1"),
        (lambda c, t, w: (c, t, 0 * w), HeadError, "positive"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(spoil, error, said) -> None:  # type: ignore[no-untyped-def]
    canvases, targets = stamps()
    given = spoil(canvases, targets, np.ones(len(targets)))
    with pytest.raises(error, match=said):
        finetune(small(), *given, options=QUICK)


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"rate": 0}, {"rate": np.nan}, {"held": 0.9}, {"pull": 1e9}, {"memory": 0}],
)
def test_options_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        FinetuningOptions(**changes)  # type: ignore[arg-type]
