from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.frame import Frame
from models.images import Preprocessing, encode_png
from models.lvm import LVM, LVMConfig
from models.measurements import MEASUREMENTS
from models.mixture import Mixture, open_mixture
from models.pretraining import run_pretraining
from models.schedule import Schedule
from models.simulation import simulate
from models.stamp_sources import SourceName, image_files
from models.stamps import Standard

PICTURE = Preprocessing(kind="rgb8", size=32, crop=0.6)
FLUX = Preprocessing(kind="flux", size=32, crop=0.8, stretch="linear", gain=1.0)
CONFIG = LVMConfig(
    image_size=32, window=4, width=8, depths=(1, 1), heads=(2, 2), pooling=("mean1",),
    preprocessing=FLUX,
)  # fmt: skip
SCHEDULE = Schedule(
    sizes=((32, 2),), decoder_steps=1, batch=4, simulated=6, reconstruction_weight=1.0, mask_patch=8
)


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(5):
        (folder / f"{i}.png").write_bytes(encode_png(simulate(rng, size=48).rgb))
    return folder


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight stamps of linear flux in nanomaggies, with one that has no finite value."""
    path, rng = tmp_path_factory.mktemp("stamps") / "stamps.h5", np.random.default_rng(1)
    images = np.stack([simulate(rng, look="legacy", size=64).flux for _ in range(8)]) * 0.01
    images[3] = np.nan
    with h5py.File(path, "w") as file:
        file["images"] = images.astype(np.float32)
    return path


def mixed(names: list[SourceName], cache: Path, frame: Frame | None = None) -> Mixture:
    return open_mixture(names, frame or Frame.of(PICTURE), 6, 0, cache, quiet)


def test_sources_are_named_with_weights(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "set:2"
    odd.mkdir()
    assert SourceName.parse(f"{folder}:0.5") == SourceName(str(folder), 0.5)
    assert SourceName.parse(str(folder)) == SourceName(str(folder), 1.0)
    assert SourceName.parse(str(odd)) == SourceName(str(odd), 1.0)
    assert SourceName.parse(f"{odd}:3") == SourceName(str(odd), 3.0)
    assert SourceName.parse("simulated:0") == SourceName("simulated", 0.0)


@pytest.mark.parametrize("weight", ["-1", "0", "nan", "inf", "-inf"])
def test_weights_are_numbers_above_zero(folder: Path, weight: str) -> None:
    with pytest.raises(ValueError, match="must be a number above 0"):
        SourceName.parse(f"{folder}:{weight}")


@pytest.mark.parametrize("name", ["nowhere", "nowhere:2", "", ":", "simulation", "simulated:many"])
def test_unknown_sources_are_told(name: str) -> None:
    with pytest.raises(ValueError, match="There is no folder or file"):
        SourceName.parse(name)


def test_mixtures_that_make_no_sense_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one source"):
        mixed([], tmp_path)
    with pytest.raises(ValueError, match="named twice"):
        mixed([SourceName(str(folder)), SourceName(str(folder), 2)], tmp_path)
    with pytest.raises(ValueError, match="there must be simulated ones"):
        mixed([SourceName("simulated", 0)], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"No image can be read below .*empty"):
        mixed([SourceName(str(tmp_path / "empty"))], tmp_path)
    (tmp_path / "notes.txt").write_text("no stamps")
    with pytest.raises(ValueError, match=r"notes\.txt cannot be read as HDF5"):
        mixed([SourceName(str(tmp_path / "notes.txt"))], tmp_path)
    with pytest.raises(ValueError, match="There is no folder"):
        image_files([tmp_path / "nothing"])


def test_weights_decide_how_many_stamps_of_each_source_are_seen(
    folder: Path, stamps: Path, tmp_path: Path
) -> None:
    found = mixed([SourceName(str(folder), 1), SourceName(str(stamps), 3)], tmp_path)
    counts = np.zeros(2)
    for step in range(40):
        plan = found.plan(7, step, 5)
        assert len(set(plan)) == 5
        counts += np.bincount([source for source, _ in plan], minlength=2)
    assert counts.tolist() == [50, 150]
    assert found.plan(7, 3, 5) == found.plan(7, 3, 5)
    assert found.plan(7, 3, 5) != found.plan(8, 3, 5)
    # Of simulated galaxies nobody said anything: half as many as real stamps.
    assert found.simulated_per_step(32, 1) == 16
    assert found.simulated_per_step(32, 3) == 15, "a multiple of the parts"
    third = replace(found, simulated_weight=4 / 3)
    assert third.simulated_per_step(30, 1) == 10
    assert replace(found, simulated_weight=0.0).simulated_per_step(32, 1) == 0


def test_every_stamp_of_a_file_is_seen_before_one_comes_again(stamps: Path, tmp_path: Path) -> None:
    found = mixed([SourceName(str(stamps))], tmp_path)
    rows = [row for step in range(4) for _, row in found.plan(0, step, 4)]
    assert sorted(rows[:8]) == sorted(rows[8:]) == list(range(8))


def test_pictures_and_flux_are_drawn_alike(folder: Path, stamps: Path, tmp_path: Path) -> None:
    found = mixed([SourceName(str(folder)), SourceName(str(stamps))], tmp_path)
    canvases, rows = found.read([(0, 1), (1, 2), (1, 3)], measuring=True)
    assert canvases.shape == (3, 176, 176, 3)
    assert canvases.dtype == np.uint8
    assert rows.shape == (3, MEASUREMENTS)
    assert np.array_equal(canvases[2], found.read([(1, 4)], False)[0][0]), "NaN: the next stamp"
    assert found.representatives(tmp_path).shape == (13, 176, 176, 3)


def test_measurements_of_a_mixture_are_standardised_over_it() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(1, 2, (40, 3)).astype(np.float32)
    b = rng.normal(5, 1, (20, 3)).astype(np.float32)
    parts = [Standard.of(a), Standard.of(b)]
    joint, whole = Standard.mixed(parts, [2 / 3, 1 / 3]), Standard.of(np.concatenate([a, b]))
    np.testing.assert_allclose(joint.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(joint.variance, whole.variance, rtol=1e-6)
    assert np.abs(whole.apply(a)).max() <= 4
    constant = np.full((4, 1), 7.0, np.float32)
    assert (Standard.of(constant).apply(constant) == 0).all()


@pytest.mark.parametrize("stretch", ["linear", "asinh"])
def test_from_linear_flux_to_an_lvm(stamps: Path, tmp_path: Path, stretch: str) -> None:
    record = replace(FLUX, stretch=stretch)  # type: ignore[arg-type]
    config = replace(CONFIG, preprocessing=record)
    lvm = run_pretraining([str(stamps)], tmp_path, config, SCHEDULE, quiet)
    assert LVM.from_pretrained(tmp_path / "lvm").config.preprocessing == record
    assert lvm.identity == LVM.from_pretrained(tmp_path / "lvm").identity
    assert (tmp_path / "reconstruction.png").stat().st_size > 1000


def test_simulated_flux_has_the_noise_of_the_real_sky(stamps: Path, tmp_path: Path) -> None:
    found = mixed([SourceName(str(stamps))], tmp_path, Frame.of(FLUX))
    corner = found.simulated.canvases[:, :8, :8, 1].std()
    assert 0.004 < corner < 0.03, "the stamps' noise is 0.01 nanomaggies"


def test_pictures_are_left_out_of_flux(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ValueError, match="No image can be read"):
        open_mixture([SourceName(str(folder))], Frame.of(FLUX), 6, 0, tmp_path, said.append)
    assert sum("wants measured flux" in line for line in said) == 5


def test_a_preprocessing_that_training_would_not_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="mean 0 and std 1"):
        Frame.of(replace(PICTURE, std=(2.0, 1.0, 1.0)))
