"""The job that tunes the LVM: when it is time, what it leaves behind, and what stops it."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from astropy.io import fits
from sqlalchemy import select
from stand_ins import SHAPE_CONFIG, Sky, StandIn, sky, tiny_lvm, truth
from tuned_world import TunedWorld, nudged, quick

from ml_backend.errors import FetchError, StoreError
from ml_backend.loop import tuning
from ml_backend.loop.rounds import RoundContext
from ml_backend.loop.tuning import tune, wants_tuning
from ml_backend.store.database import open_store
from ml_backend.store.tables import Task
from ml_backend.store.tuned_lvms import load_tuned
from models.finetuning import Tuned
from models.images import Preprocessing
from models.lvm import LVM, LVMConfig
from models.recipe import Recipe
from models.sources import load_lvm

BASE = tiny_lvm().identity


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TunedWorld]:
    monkeypatch.setattr(tuning, "finetune", quick)
    made = TunedWorld(tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize(
    ("labels", "last", "expected"),
    [
        (49, None, False),
        (50, None, True),
        (99, ("refused", 50, 0), False),
        (100, ("refused", 50, 0), True),
        (99, ("accepted", 50, 0), False),
        (100, ("accepted", 50, 0), True),
        (100, ("ready", 50, 0), False),
        (60, ("running", 50, 0), False),
        (100, ("running", 50, 0), True),
        (60, ("failed", 50, 600), False),
        (60, ("failed", 50, 4000), True),
    ],
)
def test_when_it_is_time(
    world: TunedWorld, labels: int, last: tuple[str, int, int] | None, expected: bool
) -> None:
    if last is not None:
        state, before, ago = last
        row = world.store.tunings.begin(1, BASE, before)
        over = datetime.now(UTC) - timedelta(seconds=ago)
        world.store.tunings.note(row.id, state=state, finished_at=over)
    assert wants_tuning(world.store, 1, BASE, labels) is expected
    assert wants_tuning(world.store, 1, "another", 50), "another LVM was never tried"


def test_zero_means_never(tmp_path: Path) -> None:
    world = TunedWorld(tmp_path, tune_from=0)
    assert not world.labelled().tune
    assert not wants_tuning(world.store, 1, BASE, 10**6)
    world.store.close()


def test_a_round_says_when_labels_suffice(world: TunedWorld) -> None:
    world.vote(49)
    assert not world.round().tune
    world.vote(1, start=49)
    assert world.round().tune
    world.tune()
    assert not world.round().tune


def test_it_leaves_a_tuned_lvm_with_all_embeddings_and_touches_nothing_else(
    world: TunedWorld,
) -> None:
    world.labelled()
    before = [(v.name, v.state) for v in world.versions()], world.store.projects.get(1).champion
    said: list[tuple[float, str]] = []
    assert "next round judges" in world.tune(lambda share, what: said.append((share, what)))
    assert world.tuning().state == "ready"
    assert world.tuning().labels == 54
    kept = load_tuned(world.tuned_folder())
    assert kept.lvm.identity == world.tuning().lvm_identity == nudged(tiny_lvm()).identity
    assert kept.base == BASE
    assert len(world.store.embeddings(kept.lvm.identity)) == 60
    assert ([(v.name, v.state) for v in world.versions()],
            world.store.projects.get(1).champion) == before  # fmt: skip
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1
    assert "There is nothing to tune" in world.tune(), "a second job finds it done"


def test_a_fifth_of_the_labelled_galaxies_and_their_twins_are_kept_from_it(
    world: TunedWorld,
) -> None:
    twins = world.label_studio.add_tasks(1, sky(54))
    for task, address in zip(twins, sky(54), strict=True):
        world.label_studio.annotate(task, truth(address))
    world.labelled()
    world.tune()
    seen = load_tuned(world.tuned_folder()).seen
    with world.store.reading() as session:
        rows = session.execute(select(Task.id, Task.content_hash)).all()
    hashes = {row.id: row.content_hash for row in rows}
    shown = {task for task in [*world.tasks[:54], *twins] if hashes[task] in seen}
    assert 108 - len(shown) >= round(0.2 * 108)
    assert len(shown) == 2 * len(seen), "twins are shown together, or not at all"


def test_labels_that_mean_nothing_to_it_are_a_refusal_that_is_kept(
    world: TunedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Fine-tuning gained nothing: held-out log loss 1.0 before, 1.1 at best."
    monkeypatch.setattr(tuning, "finetune", lambda *_, **__: Tuned(None, (1.0, 1.1), said, 0.1))
    world.labelled()
    assert said in world.tune()
    assert (world.tuning().state, world.tuning().lvm_identity) == ("refused", None)
    assert said in world.tuning().reason
    assert not (world.store.folder / "lvms").exists()
    assert not world.round().tune


def flux_lvm() -> LVM:
    config = tiny_lvm().config.as_dict() | {
        "preprocessing": Preprocessing(kind="flux", size=32).as_dict()
    }
    torch.manual_seed(0)
    return LVM(LVMConfig.from_dict(config))


def test_an_lvm_that_sees_flux_is_not_tuned(world: TunedWorld) -> None:
    world.labelled()
    row_of = world.store.tunings
    lvm = flux_lvm()
    world.store.embeddings(lvm.identity, lvm.dimension)
    hashes, rows = _embeddings(world)
    world.store.embeddings(lvm.identity).add(hashes, rows)
    message = tune(RoundContext(world.store, world.label_studio, world.sky, lambda: lvm), 1)
    assert "measured flux" in message
    last = row_of.latest(1, lvm.identity)
    assert last is not None
    assert last.state == "refused"


def test_a_hugging_face_encoder_is_not_tuned(tmp_path: Path) -> None:
    config = transformers.ConvNextV2Config(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "hf")
    recipe = Recipe(Preprocessing("rgb8", 32, mean=(0.5,) * 3, std=(0.2,) * 3), ("mean1", "std1"))
    (tmp_path / "hf" / "galaxyloop.json").write_text(json.dumps(recipe.as_dict()))
    encoder = load_lvm(tmp_path / "hf")
    world = TunedWorld(tmp_path / "world", lvm=lambda: encoder)
    assert world.labelled().tune
    assert "HuggingFaceEncoder is used as it is" in world.tune()
    assert world.tuning().state == "refused"
    assert not world.round().tune
    world.store.close()


def test_a_project_with_several_questions_is_not_tuned(world: TunedWorld) -> None:
    second = SHAPE_CONFIG.replace(
        "</View>",
        '<Choices name="ring" toName="image"><Choice value="Yes"/><Choice value="No"/></Choices>'
        "</View>",
    )
    world.label_studio.set_config(1, second)
    assert world.labelled().tune
    assert "this project asks 2" in world.tune()
    assert world.tuning().state == "refused"


class Gone(Sky):
    """Some images are not to be had again, or are others now."""

    def __init__(self, gone: set[str], changed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__()
        self.gone, self.changed = gone, changed

    def fetch(self, address: str) -> bytes:
        if address in self.gone:
            raise FetchError(f"{address} answered 404.")
        return super().fetch("sky://Merger/999" if address in self.changed else address)


def test_images_that_are_gone_for_good_stop_it_and_lose_nothing(world: TunedWorld) -> None:
    world.labelled()
    with world.store.reading() as session:
        before = session.execute(select(Task.id, Task.content_hash, Task.problem)).all()
    world.sky = Gone(set(sky(60)[:12]))
    with pytest.raises(StoreError, match="labelled images cannot be had again"):
        world.tune()
    assert world.tuning().state == "failed"
    assert "cannot be had again" in world.tuning().reason
    with world.store.reading() as session:
        assert session.execute(select(Task.id, Task.content_hash, Task.problem)).all() == before
    assert not world.round().tune, "it waits an hour"
    world.sky = Sky()
    world.store.tunings.note(
        world.tuning().id, finished_at=datetime.now(UTC) - timedelta(seconds=4000)
    )
    assert world.round().tune
    world.tune()
    assert world.tuning().state == "ready"
    assert len(world.store.tunings.listing(1)) == 1, "the same try goes on"


def test_single_images_that_are_gone_or_changed_are_left_out(world: TunedWorld) -> None:
    world.labelled()
    world.sky = Gone({sky(60)[57]}, {sky(60)[56]})
    world.tune()
    assert world.tuning().state == "ready"
    with world.store.reading() as session:
        assert session.scalars(select(Task).where(Task.problem.is_not(None))).all() == []


class Cubes(Sky):
    """FITS files of which each task names one image of two."""

    def fetch(self, address: str) -> bytes:
        assert address.endswith("#extension=2")
        rng = np.random.default_rng(int(address.split("/")[3].partition("#")[0]))
        planes = rng.normal(0, 1, (2, 40, 40)).astype(np.float32)
        buffer = io.BytesIO()
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(plane) for plane in planes)]
        fits.HDUList(hdus).writeto(buffer)
        return buffer.getvalue()


def test_it_reads_the_image_that_a_task_names_in_a_file(world: TunedWorld) -> None:
    for task in world.tasks:
        world.label_studio.remove_task(task)
    world.tasks = world.label_studio.add_tasks(1, [f"{a}#extension=2" for a in sky(60)])
    world.images = dict(zip(world.tasks, sky(60), strict=True))
    world.sky = Cubes()
    world.labelled()
    world.tune()
    assert world.tuning().state == "ready"


def test_a_full_disk_fails_it_and_it_is_taken_up_again(
    world: TunedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.labelled()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(StoreError, match="the disk is full"):
            world.tune()
    assert world.tuning().state == "failed"
    assert world.tuning().lvm_identity is None
    assert [path for path in (world.store.folder / "lvms").rglob("*") if path.is_file()] == []
    world.tune()
    assert world.tuning().state == "ready"


def test_a_vanished_project_is_named(world: TunedWorld) -> None:
    context = RoundContext(world.store, world.label_studio, world.sky, tiny_lvm)
    with pytest.raises(StoreError, match="not connected any more"):
        tune(context, 7)


@pytest.mark.parametrize("point", ["Read", "Fine-tuning", "Encoded 16 of 60"])
def test_killed_anywhere_it_is_done_again_and_ends_the_same(
    world: TunedWorld, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.labelled()
    killed_tuning(world, point)
    assert world.tuning().state == "running"
    if point.startswith("Encoded"):
        # What was tuned before the kill is not tuned again.
        monkeypatch.setattr(tuning, "finetune", None)
    assert not world.round().tune, "the job's row brings it back, no round does"
    world.tune()
    assert world.tuning().state == "ready"
    assert world.tuning().lvm_identity == nudged(tiny_lvm()).identity
    assert len(world.store.embeddings(nudged(tiny_lvm()).identity)) == 60
    assert not list((world.store.folder / "lvms").rglob(".draft-*"))


def test_a_half_tuned_lvm_that_is_damaged_is_tuned_again(world: TunedWorld) -> None:
    world.labelled()
    killed_tuning(world, "Encoded 16 of 60")
    (world.tuned_folder() / "model.safetensors").write_bytes(b"no tensors")
    world.tune()
    assert world.tuning().state == "ready"
    assert load_tuned(world.tuned_folder()).lvm.identity == nudged(tiny_lvm()).identity


def killed_tuning(world: TunedWorld, point: str) -> None:
    """Tune in a child process that is killed with SIGKILL at `point`."""
    world.store.close()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)

            def progress(_share: float, message: str) -> None:
                if message.startswith(point):
                    os.kill(os.getpid(), signal.SIGKILL)

            store = open_store(world.store.settings)
            tune(RoundContext(store, StandIn(world.state), Sky(), tiny_lvm, progress=progress), 1)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    world.store = open_store(world.store.settings)


def _embeddings(world: TunedWorld) -> tuple[list[str], object]:
    with world.store.reading() as session:
        hashes = [h for h in session.scalars(select(Task.content_hash)) if h]
    return hashes, world.store.embeddings(BASE).get(hashes)[0]
