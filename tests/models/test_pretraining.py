from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.augmentation import random_views
from models.batches import Batch, Batches, Part
from models.devices import Processes
from models.frame import Canvas, Frame, canvas, central_views
from models.images import Preprocessing, encode_png, read_image, to_rgb8, to_tensor
from models.learner import Learner
from models.lvm import LVM, LVMConfig
from models.mixture import Mixture, open_mixture
from models.morphometry import FEATURES, measure
from models.pretraining import run_pretraining
from models.projection import with_projection
from models.schedule import Schedule
from models.simulation import simulate
from models.stamp_sources import SourceName
from models.stamps import PARAMETERS
from models.trainer import Trainer

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
# Six stamps differ along five directions.
SMALL = replace(CONFIG, image_size=32, preprocessing=replace(CONFIG.preprocessing, size=32))
FRAME = Frame.of(CONFIG.preprocessing)
# Encoder and decoder together, with hidden patches.
JOINT = replace(SCHEDULE, reconstruction_weight=1.0, mask_ratio=0.5, decoder_steps=2)


def quiet(line: str) -> None:
    """Say nothing."""


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
def mixture(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    said: list[str] = []
    cache = tmp_path_factory.mktemp("cache")
    names = [SourceName(str(folder))]
    found = open_mixture(names, FRAME, 6, 0, cache, said.append)
    assert len(found.sources[0]) == 6
    assert any("broken.png is left out" in line for line in said)
    again = open_mixture(names, FRAME, 6, 0, cache, said.append)
    assert np.array_equal(found.simulated.canvases, again.simulated.canvases)
    assert found.simulated.parameters.shape == (6, len(PARAMETERS))
    return found


@pytest.fixture(scope="module")
def stamps(mixture: Mixture, tmp_path_factory: pytest.TempPathFactory) -> Canvas:
    return mixture.representatives(tmp_path_factory.mktemp("unused"))


def same_weights(a: LVM, b: LVM) -> bool:
    states = (a.state_dict(), b.state_dict())
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("schedule", "stop"), [(SCHEDULE, 2), (SCHEDULE, 4), (SCHEDULE, 7), (SCHEDULE, 8), (JOINT, 5)]
)
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(
    mixture: Mixture, tmp_path: Path, schedule: Schedule, stop: int
) -> None:
    def training(name: str) -> Trainer:
        return Trainer(CONFIG, schedule, mixture, tmp_path / name, quiet)

    whole = training("whole").run()
    training("parts").run(until=stop)
    resumed = training("parts")
    assert resumed.step == stop
    assert same_weights(resumed.run(), whole)
    assert whole.config == CONFIG


def test_an_error_between_checkpoints_loses_only_the_steps_since(
    mixture: Mixture, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    first = Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)
    descend, calls = first._descend, 0

    def dying(batch: Batch) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed
        return descend(batch)

    first._descend = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.run()
    (tmp_path / "training.safetensors.partial").write_bytes(b"half a checkpoint")
    second = Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)
    assert second.step == 4
    whole = Trainer(CONFIG, SCHEDULE, mixture, tmp_path / "whole", quiet)
    assert same_weights(second.run(), whole.run())


def test_it_learns(mixture: Mixture, tmp_path: Path) -> None:
    schedule = replace(
        SCHEDULE, sizes=((32, 120),), batch=6, decoder_steps=60, rate=3e-3, save_every=1000
    )
    run = Trainer(SMALL, schedule, mixture, tmp_path, quiet)
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


def test_it_learns_what_hidden_patches_hold(mixture: Mixture, tmp_path: Path) -> None:
    schedule = replace(
        JOINT, mask_patch=8, sizes=((32, 100),), batch=6, decoder_steps=0, rate=3e-3, save_every=60,
        contrast_weight=0.0, measured_weight=0.0, truth_weight=0.0,
    )  # fmt: skip
    run = Trainer(SMALL, schedule, mixture, tmp_path, quiet)
    stem, token = run.model.encoder.stem.weight.clone(), run.learner.masking.token.clone()
    curve = run.run() and run.curve
    assert set(curve[0]) == {"step", "l1", "l1_hidden"}
    assert curve[-1]["l1_hidden"] < 0.9 * curve[0]["l1_hidden"]
    assert not torch.equal(stem, run.model.encoder.stem.weight), "the encoder learns too"
    assert not torch.equal(token, run.learner.masking.token)
    sheet = np.asarray(Image.open(tmp_path / "reconstruction.png"))
    assert sheet.shape == (3 * 34, 6 * 34, 3)
    seen, covered, given = sheet.reshape(3, 34, 6 * 34, 3)
    grey = (covered == 128).all(-1)
    assert 0.35 < grey.mean() < 0.6
    assert np.array_equal(seen[~grey], covered[~grey])
    assert not np.array_equal(seen, given)


def split(batch: Batch, parts: int) -> Batch:
    """Cut a batch of one part into several with the same views."""
    (whole,) = batch.parts
    n, s = len(whole.measurements) // parts, batch.kinds.shape[1] // parts
    first, second, other = whole.views.split([n * parts, n * parts, s * parts])
    cut = [
        Part(
            whole.seed,
            torch.cat([first[i * n :][:n], second[i * n :][:n], other[i * s :][:s]]),
            whole.measurements[i * n :][:n],
            whole.hidden[i * n :][:n],
        )
        for i in range(parts)
    ]
    return Batch(cut, batch.kinds.view(parts, s), batch.parameters.view(parts, s, -1))


def test_parts_of_a_batch_have_the_gradient_of_the_whole(mixture: Mixture) -> None:
    schedule = replace(JOINT, sizes=((64, 3),), batch=6)
    batch = Batches(replace(mixture, simulated_weight=1.0), schedule)[0]
    assert batch.kinds.shape == (1, 6)
    gradients, told = [], []
    for parts in (1, 3):
        torch.manual_seed(0)
        model = LVM(replace(CONFIG, drop_path=0.0))
        learner = Learner(model, replace(schedule, parts=parts), Processes(torch.device("cpu")))
        pieces = split(batch, parts)
        told.append(learner.encoder_gradients(pieces))
        gradients.append([p.grad for p in learner.parameters(decoding=False)])
    assert told[0] == pytest.approx(told[1], rel=1e-5)
    (whole, parts_) = gradients
    assert [g is None for g in whole] == [g is None for g in parts_]
    pairs = [(a, b) for a, b in zip(whole, parts_, strict=True) if a is not None and b is not None]
    length = torch.cat([a.flatten() for a, _ in pairs]).norm()
    assert torch.cat([(a - b).flatten() for a, b in pairs]).norm() < 1e-4 * length


def test_terms_without_weight_are_not_computed(mixture: Mixture, tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, sizes=((64, 2),), decoder_steps=0, measured_weight=0.0)
    run = Trainer(CONFIG, schedule, mixture, tmp_path / "a", quiet)
    run.run()
    assert set(run.curve[-1]) == {"step", "contrast", "truth"}
    alone = replace(mixture, simulated_weight=0.0)
    run = Trainer(CONFIG, replace(schedule, project=False), alone, tmp_path / "b", quiet)
    run.run()
    assert set(run.curve[-1]) == {"step", "contrast"}
    truth = replace(schedule, contrast_weight=0.0)
    with pytest.raises(ValueError, match="truth term needs simulated galaxies"):
        Trainer(CONFIG, truth, alone, tmp_path / "c", quiet)


def test_reading_by_processes_changes_nothing(mixture: Mixture, tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, sizes=((64, 3),), decoder_steps=0)
    thread = Trainer(CONFIG, schedule, mixture, tmp_path / "a", quiet).run()
    others = Trainer(CONFIG, schedule, mixture, tmp_path / "b", quiet, workers=1).run()
    assert same_weights(thread, others)


def test_a_full_disk_keeps_the_last_checkpoint(
    mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    run = Trainer(CONFIG, SCHEDULE, mixture, tmp_path, said.append)
    run.run(until=2)
    kept = (tmp_path / "training.safetensors").read_bytes()

    def full(tensors: object, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("models.training_state.save_file", full)
        with pytest.raises(OSError, match=r"could not be written: .*No space left"):
            run.run(until=5)
        assert run.step == 5, "an earlier checkpoint that fails ends nothing"
        assert any("goes on" in line for line in said)
    assert (tmp_path / "training.safetensors").read_bytes() == kept
    assert not list(tmp_path.glob("*.partial"))
    again = Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)
    assert again.step == 2
    whole = Trainer(CONFIG, SCHEDULE, mixture, tmp_path / "whole", quiet)
    assert same_weights(again.run(), whole.run())


def test_a_loss_that_is_not_finite_ends_the_training(mixture: Mixture, tmp_path: Path) -> None:
    run = Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)
    with torch.no_grad():
        run.model.encoder.stem.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="Step 0: The loss is nan; lower the rate"):
        run.run()
    run = Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)
    run.model.encoder.stem.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(FloatingPointError, match="Step 0: The gradient is not finite"):
        run.run()
    assert torch.isfinite(run.model.encoder.stem.weight).all()
    assert not (tmp_path / "training.safetensors").exists()


def test_a_projection_can_be_fitted_anew(stamps: Canvas) -> None:
    torch.manual_seed(0)
    lvm = LVM(replace(CONFIG, decoder=False))
    projected = with_projection(lvm, stamps, components=5)
    assert projected.dimension == 5
    views = central_views(stamps, 64, 0.6)
    pooled = projected.encode(views).pooled
    torch.testing.assert_close(pooled.mean(0), torch.zeros(projected.dimension), atol=1e-3, rtol=0)
    again = with_projection(projected, stamps, components=5)
    torch.testing.assert_close(again.encode(views).pooled, pooled)


def test_training_sees_what_encoding_will_see() -> None:
    image = read_image(encode_png(simulate(np.random.default_rng(4), "spiral", 400).rgb))
    seen = to_tensor(image, CONFIG.preprocessing)
    trained = central_views(canvas(to_rgb8(image))[None], 64, CONFIG.preprocessing.crop)[0]
    assert (seen - trained).abs().mean() < 0.01


def test_it_refuses_the_checkpoint_of_another_training(mixture: Mixture, tmp_path: Path) -> None:
    Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet).run(until=1)

    def refused(match: str, **changes: object) -> None:
        arguments = {"config": CONFIG, "schedule": SCHEDULE, "mixture": mixture} | changes
        with pytest.raises(ValueError, match=match):
            Trainer(out=tmp_path, report=quiet, **arguments)  # type: ignore[arg-type]

    refused(
        r"another training \(schedule.rate is 0.001, not 0.0001\)",
        schedule=replace(SCHEDULE, rate=1e-4),
    )
    refused("lvm.drop_path is 0.1, not 0.2", config=replace(CONFIG, drop_path=0.2))
    refused("data is .*:0.5", mixture=replace(mixture, simulated_weight=0.7))
    torch.manual_seed(1)
    refused("start is null", start=LVM(CONFIG))


def test_it_refuses_what_does_not_fit(mixture: Mixture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="last size must be 64"):
        Trainer(CONFIG, replace(SCHEDULE, sizes=((32, 1),)), mixture, tmp_path, quiet)
    with pytest.raises(ValueError, match="needs an LVM with a decoder"):
        Trainer(replace(CONFIG, decoder=False), JOINT, mixture, tmp_path, quiet)
    with pytest.raises(ValueError, match="takes 8 different stamps of source 1, which holds 6"):
        Trainer(CONFIG, replace(SCHEDULE, batch=8), mixture, tmp_path, quiet)
    with pytest.raises(ValueError, match="3 processes cannot share 2 parts"):
        Batches(mixture, replace(SCHEDULE, parts=2), 0, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"\xff" * 64 + data,
        lambda data: (10**15).to_bytes(8, "little") + data[8:],
    ],
)
def test_a_torn_checkpoint_is_told(
    mixture: Mixture, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet).run(until=1)
    path = tmp_path / "training.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"torn or no checkpoint .* delete it to start anew"):
        Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)


def test_the_checkpoint_of_something_else_is_told(mixture: Mixture, tmp_path: Path) -> None:
    LVM(CONFIG).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "training.safetensors")
    with pytest.raises(ValueError, match="torn or no checkpoint"):
        Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)


def test_from_folders_to_an_lvm(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    short = replace(SCHEDULE, sizes=((64, 2),), decoder_steps=1)
    lvm = run_pretraining([str(folder)], tmp_path, CONFIG, short, lines.append)
    assert LVM.from_pretrained(tmp_path / "lvm").identity == lvm.identity
    assert lvm.dimension == lvm.config.projection > 0
    assert any(line.startswith("step 3/3") for line in lines)
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["curve"][-1]["step"] == 3
    table = (tmp_path / "curve.csv").read_text().splitlines()
    assert table[0] == "step,contrast,measured,truth,l1"
    assert [row.split(",")[0] for row in table[1:]] == ["2", "3"]
    chart = (tmp_path / "curve.svg").read_text()
    assert all(f">{name}<" in chart for name in ("contrast", "measured", "truth", "l1"))


def test_simulated_galaxies_alone_suffice(tmp_path: Path) -> None:
    short = replace(SCHEDULE, sizes=((64, 2),), decoder_steps=0)
    lvm = run_pretraining(["simulated"], tmp_path, CONFIG, short, quiet)
    record = json.loads((tmp_path / "training.json").read_text())
    assert set(record["curve"][-1]) == {"step", "contrast", "measured", "truth"}
    assert lvm.dimension == lvm.config.projection > 0


def test_it_goes_on_from_an_lvm(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    start = LVM(replace(CONFIG, projection=7, decoder=False))
    short = replace(SCHEDULE, sizes=((64, 1),))
    trained = run_pretraining([str(folder)], tmp_path, start.config, short, quiet, start)
    stem = "encoder.stages.0.0.expand.weight"
    change = (trained.state_dict()[stem] - start.state_dict()[stem]).abs().max()
    assert 0 < change < 0.05, "one step from the weights given, not from new ones"


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
