from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.augmentation import random_views
from models.images import Preprocessing, encode_png, read_image, to_rgb8, to_tensor
from models.lvm import LVM, LVMConfig
from models.morphometry import FEATURES, measure
from models.pretraining import Pretraining, main, run_pretraining
from models.projection import with_projection
from models.schedule import Schedule
from models.simulation import KINDS, simulate
from models.stamps import (
    PARAMETERS,
    RealStamps,
    SimulatedStamps,
    canvas,
    central_views,
    real_stamps,
    simulated_stamps,
)

SCHEDULE = Schedule(
    sizes=((32, 4), (64, 3)), decoder_steps=3, batch=4, simulated=6, save_every=2, rate=1e-3
)
CONFIG = LVMConfig(
    image_size=64,
    window=4,
    width=8,
    depths=(1, 1, 1),
    heads=(2, 2, 2),
    pooling=("mean1", "mean2"),
    preprocessing=Preprocessing(kind="rgb8", size=64, crop=0.6),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(6):
        (folder / f"{i}.png").write_bytes(encode_png(simulate(rng, size=64).rgb))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def stamps(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RealStamps:
    said: list[str] = []
    found = real_stamps([folder], tmp_path_factory.mktemp("cache"), said.append)
    assert len(found.canvases) == len(found.measurements) == 6
    assert any("broken.png is left out" in line for line in said)
    return found


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedStamps:
    cache = tmp_path_factory.mktemp("simulated")
    found = simulated_stamps(6, 0, cache, lambda line: None)
    again = simulated_stamps(6, 0, cache, lambda line: None)
    assert np.array_equal(found.canvases, again.canvases)
    assert found.parameters.shape == (6, len(PARAMETERS))
    return found


def same_weights(a: LVM, b: LVM) -> bool:
    states = (a.state_dict(), b.state_dict())
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("stop", [2, 4, 5, 7, 8])
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(
    stamps: RealStamps, simulated: SimulatedStamps, tmp_path: Path, stop: int
) -> None:
    def training(name: str) -> Pretraining:
        return Pretraining(CONFIG, SCHEDULE, stamps, simulated, tmp_path / name, lambda line: None)

    whole = training("whole").run()
    training("parts").run(until=stop)
    resumed = training("parts")
    assert resumed.step == stop
    assert same_weights(resumed.run(), whole)
    assert whole.config == CONFIG


def test_a_kill_between_checkpoints_loses_only_the_steps_since(
    stamps: RealStamps, simulated: SimulatedStamps, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    first = Pretraining(CONFIG, SCHEDULE, stamps, simulated, tmp_path, lambda line: None)
    descend, calls = first._descend, 0

    def dying(loss: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed
        descend(loss)

    first._descend = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.run()
    (tmp_path / "training.safetensors.partial").write_bytes(b"half a checkpoint")
    second = Pretraining(CONFIG, SCHEDULE, stamps, simulated, tmp_path, lambda line: None)
    assert second.step == 4
    whole = Pretraining(CONFIG, SCHEDULE, stamps, simulated, tmp_path / "whole", lambda line: None)
    assert same_weights(second.run(), whole.run())


def test_it_learns(stamps: RealStamps, simulated: SimulatedStamps, tmp_path: Path) -> None:
    schedule = replace(
        SCHEDULE, sizes=((64, 120),), batch=6, decoder_steps=60, rate=3e-3, save_every=1000
    )
    run = Pretraining(CONFIG, schedule, stamps, simulated, tmp_path, lambda line: None)
    before = run.model.state_dict()["encoder.stem.weight"].clone()
    run.run(until=120)
    assert not torch.equal(before, run.model.state_dict()["encoder.stem.weight"])
    encoder = {k: v.clone() for k, v in run.model.encoder.state_dict().items()}
    run.run()
    curve = run.curve
    assert curve[5]["measured"] < 0.95 * curve[0]["measured"]
    assert curve[5]["truth"] < 0.95 * curve[0]["truth"]
    assert curve[-1]["l1"] < curve[6]["l1"]
    after = run.model.encoder.state_dict()
    assert all(torch.equal(encoder[k], after[k]) for k in encoder), "the encoder is held fixed"


def test_a_projection_reads_measurements_off_the_embedding(
    stamps: RealStamps, simulated: SimulatedStamps
) -> None:
    torch.manual_seed(0)
    lvm = LVM(replace(CONFIG, decoder=False))
    projected = with_projection(lvm, stamps, simulated, ridge=1e-6)
    assert projected.dimension == FEATURES + len(KINDS) + len(PARAMETERS)
    views = central_views(stamps.canvases, 64, 0.6)
    read = projected.encode(views).pooled[:, :FEATURES].numpy()
    # Six stamps, 48 pooled numbers: almost no penalty must give almost the measurements.
    np.testing.assert_allclose(read, stamps.measurements, atol=0.05)
    again = with_projection(projected, stamps, simulated, ridge=1e-6)
    torch.testing.assert_close(again.encode(views).pooled, projected.encode(views).pooled)
    heavy = with_projection(lvm, stamps, simulated, ridge=1e4)
    assert heavy.encode(views).pooled[:, :FEATURES].abs().max() < 0.05


def test_training_sees_what_encoding_will_see() -> None:
    image = read_image(encode_png(simulate(np.random.default_rng(4), "spiral", 400).rgb))
    seen = to_tensor(image, CONFIG.preprocessing)
    trained = central_views(canvas(to_rgb8(image))[None], 64, CONFIG.preprocessing.crop)[0]
    assert (seen - trained).abs().mean() < 0.01


def test_it_refuses_the_checkpoint_of_another_training(
    stamps: RealStamps, simulated: SimulatedStamps, tmp_path: Path
) -> None:
    Pretraining(CONFIG, SCHEDULE, stamps, simulated, tmp_path, lambda line: None).run(until=1)
    with pytest.raises(ValueError, match="another schedule or LVM"):
        Pretraining(
            CONFIG, replace(SCHEDULE, rate=1e-4), stamps, simulated, tmp_path, lambda line: None
        )
    with pytest.raises(ValueError, match="last size must be 64"):
        Pretraining(
            CONFIG, replace(SCHEDULE, sizes=((32, 1),)), stamps, simulated, tmp_path / "b", print
        )


def test_from_folders_to_an_lvm(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    short = replace(SCHEDULE, sizes=((64, 2),), decoder_steps=1)
    lvm = run_pretraining([folder], tmp_path, CONFIG, short, lines.append)
    assert LVM.from_pretrained(tmp_path / "lvm").identity == lvm.identity
    assert any(line.startswith("step 3/3") for line in lines)
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["curve"][-1]["step"] == 3


def test_it_goes_on_from_an_lvm(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    start = LVM(replace(CONFIG, projection=7, decoder=False))
    start.save_pretrained(tmp_path / "start")
    arguments = ["--data", str(folder), "--out", str(tmp_path / "out"), "--batch", "4"]
    arguments += ["--start", str(tmp_path / "start"), "--simulated", "6", "--small-steps", "0"]
    assert main([*arguments, "--steps", "1"]) == 0
    trained = LVM.from_pretrained(tmp_path / "out" / "lvm")
    stem = "encoder.stages.0.0.expand.weight"
    change = (trained.state_dict()[stem] - start.state_dict()[stem]).abs().max()
    assert 0 < change < 0.05, "one step from the weights given, not from new ones"


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 1
    assert "There is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["--data", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    assert "No image can be read" in capsys.readouterr().err


def test_views_keep_range_and_follow_the_seed() -> None:
    canvases = torch.randint(0, 256, (3, 176, 176, 3), dtype=torch.uint8)

    def views(seed: int) -> torch.Tensor:
        return random_views(canvases, 32, 0.8, torch.Generator().manual_seed(seed))

    assert views(0).shape == (3, 3, 32, 32)
    assert torch.equal(views(0), views(0))
    assert not torch.equal(views(0), views(1))
    assert 0 <= views(0).min() <= views(0).max() <= 1


def test_views_keep_colours_in_order() -> None:
    canvas = torch.zeros(1, 176, 176, 3, dtype=torch.uint8)
    canvas[..., 0], canvas[..., 1], canvas[..., 2] = 200, 120, 60
    for seed in range(10):
        view = random_views(canvas, 32, 0.8, torch.Generator().manual_seed(seed))
        red, green, blue = view.mean((0, 2, 3)).tolist()
        assert red > green > blue


def test_measurements_do_not_follow_turns_and_mirrors() -> None:
    rng = np.random.default_rng(5)
    for kind in ("elliptical", "spiral", "edge_on", "merger"):
        picture = simulate(rng, kind, 96).rgb
        values = measure(picture)
        assert values.shape == (FEATURES,)
        for turned in (np.rot90(picture), picture[:, ::-1]):
            np.testing.assert_allclose(measure(turned), values, rtol=0.05, atol=0.05)


def test_measurements_are_finite_whatever_is_shown() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for picture in (np.zeros_like(noise), np.full_like(noise, 255), noise, 255 - noise // 8):
        assert np.isfinite(measure(picture)).all()


def test_a_thin_galaxy_measures_thinner_than_a_round_one() -> None:
    rng = np.random.default_rng(2)
    thin = [measure(simulate(rng, "edge_on", 96).rgb)[1] for _ in range(8)]
    round_ = [measure(simulate(rng, "elliptical", 96).rgb)[1] for _ in range(8)]
    assert np.median(thin) < np.median(round_) - 0.15
