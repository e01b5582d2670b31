"""Rounds with a tuned LVM: judged, published, brought back, lost; the project always goes on."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import select
from stand_ins import Sky, sky, tiny_lvm, truth
from tuned_world import PROMOTE, REFUSE, TunedWorld, nudged, quick

from ml_backend.errors import FetchError, LabelStudioError, StoreError
from ml_backend.loop import candidates, rounds, tuned_rounds, tuning
from ml_backend.loop.cleaning import prune
from ml_backend.loop.gate import GateDecision
from ml_backend.loop.project_lvm import seen_tasks
from ml_backend.store.tables import Task
from ml_backend.store.tuned_lvms import load_tuned, tuned_folder, write_tuned
from models.finetuning import FinetuningOptions, finetune
from models.images import encode_png
from models.lvm import LVM, LVMConfig

BASE = tiny_lvm().identity
TUNED = nudged(tiny_lvm()).identity


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TunedWorld]:
    monkeypatch.setattr(tuning, "finetune", quick)
    monkeypatch.setattr(tuned_rounds, "judge", lambda *_: PROMOTE)
    made = TunedWorld(tmp_path)
    yield made
    made.store.close()


def promoted(world: TunedWorld) -> str:
    """Bring a tuned LVM into use; return the version."""
    world.labelled()
    world.tune()
    assert world.round().kind == "tuned"
    return world.published


def test_a_better_lvm_is_published_and_used_from_then_on(world: TunedWorld) -> None:
    before = world.labelled().version
    world.tune()
    report = world.round()
    assert (report.kind, report.version) == ("tuned", world.published)
    version = world.version()
    assert (version.state, version.lvm_identity) == ("published", TUNED)
    assert version.gate == {"promote": True, "reason": PROMOTE.reason, "figures": PROMOTE.figures,
                            "champion": before}  # fmt: skip
    assert world.version(before).state == "retired"
    assert world.tuning().state == "accepted"
    assert not set(world.label_studio.served(1)) & set(world.tasks[:54])
    assert world.round().version is None, "nothing is new"
    new = world.label_studio.add_tasks(1, sky(3, start=90))
    world.label_studio.annotate(world.tasks[54], truth(world.images[world.tasks[54]]))
    assert world.round().kind in ("trained", "rerank")
    assert {v.lvm_identity for v in world.versions()[1:]} == {TUNED}
    assert len(world.store.embeddings(TUNED)) == 63
    assert len(world.store.embeddings(BASE)) == 60
    assert set(new) <= set(world.label_studio.served(1))


def test_unknown_images_are_encoded_with_the_tuned_lvm(world: TunedWorld) -> None:
    promoted(world)
    prediction = world.predict({"id": 9000, "data": {"image": "sky://Spiral/900"}})
    assert prediction["result"]
    assert len(world.store.embeddings(TUNED)) == 61
    assert len(world.store.embeddings(BASE)) == 60


def test_a_refusal_keeps_its_reason_and_removes_the_files(
    world: TunedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned_rounds, "judge", lambda *_: REFUSE)
    before = world.labelled().version
    world.tune()
    folder = world.tuned_folder()
    assert folder.is_dir()
    report = world.round()
    assert world.published == before
    rejected = world.versions()[-1]
    assert (rejected.kind, rejected.state, rejected.problem) == ("tuned", "rejected", REFUSE.reason)
    assert report.rejected == rejected.name
    assert rejected.gate["champion"] == before
    assert not rejected.on_disk
    assert (world.tuning().state, world.tuning().reason) == ("refused", REFUSE.reason)
    assert not folder.exists()
    assert not (world.store.folder / "embeddings" / TUNED).exists()
    assert world.round().version is None
    assert not world.round().tune
    assert world.store.embeddings(BASE).contains(_hashes(world)).all()


def test_the_champions_own_gate_holds_too(
    world: TunedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = GateDecision(False, "Not promoted, worse on all unseen votes.", {"all": {}})
    before = world.labelled().version
    world.tune()
    monkeypatch.setattr(tuned_rounds, "compare", lambda *_: worse)
    world.round()
    assert world.published == before
    assert world.versions()[-1].problem == worse.reason


def test_only_galaxies_that_tuning_did_not_see_are_judged_on(
    world: TunedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[set[int]] = []

    def look(*given: object) -> GateDecision:
        votes = given[2]
        judged.append(set(votes["shape"].task_ids.tolist()))  # type: ignore[index]
        return PROMOTE

    monkeypatch.setattr(tuned_rounds, "judge", look)
    monkeypatch.setattr(tuned_rounds, "compare", look)
    monkeypatch.setattr(candidates, "compare", look)
    promoted(world)
    seen = set(seen_tasks(world.store, 1, load_tuned(world.tuned_folder()).seen).tolist())
    assert len(seen) == 43
    world.vote(3, start=54)
    world.round()
    first, second, third = judged[-3:]
    assert first == second == set(world.tasks[:54]) - seen
    assert third == set(world.tasks[:57]) - seen, "later gates leave them out as well"
    assert world.version().quality["shape"]["rows"] == 57 - 43


def test_rollback_to_the_base_lvm_and_back_again(world: TunedWorld) -> None:
    base = str(world.labelled().version)
    world.tune()
    world.round()
    tuned = world.published
    assert world.round(rollback=base).kind == "rollback"
    assert world.version().lvm_identity == BASE
    assert world.round().version is None, "the same votes bring nothing else back"
    assert world.predict({"id": 9, "data": {"image": "sky://Spiral/901"}})["result"]
    world.vote(2, start=54)
    assert world.round().version
    assert world.version().lvm_identity == BASE
    assert world.round(rollback=tuned).kind == "rollback"
    assert world.version().lvm_identity == TUNED
    assert world.round().version is None


def test_an_image_that_is_gone_leaves_the_queue_until_the_base_lvm_is_back(
    world: TunedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(world.labelled().version)
    lost = world.images[world.tasks[57]]
    fetching = world.sky.fetch

    def fetch(address: str) -> bytes:
        if address == lost:
            raise FetchError(f"{address} answered 404.")
        return fetching(address)

    monkeypatch.setattr(world.sky, "fetch", fetch)
    world.tune()
    assert world.round().kind == "tuned"
    with world.store.reading() as session:
        task = session.get(Task, world.tasks[57])
    assert task is not None
    assert task.content_hash
    assert "404" in str(task.problem)
    assert world.tasks[57] not in world.label_studio.served(1)
    world.round(rollback=base)
    assert world.tasks[57] in world.label_studio.served(1)


def test_another_lvm_in_the_settings_wins_and_the_way_back_is_open(world: TunedWorld) -> None:
    tuned = promoted(world)
    torch.manual_seed(7)
    other = LVM(tiny_lvm().config)
    world.lvm = lambda: other
    assert world.predict({"id": 9, "data": {"image": "sky://Spiral/902"}})["result"] == []
    report = world.round()
    assert report.kind == "trained"
    assert world.version().lvm_identity == other.identity
    assert "the LVM was changed" in world.version().gate["reason"]
    with pytest.raises(StoreError, match="Set GALAXYLOOP_LVM back"):
        world.round(rollback=tuned)
    world.lvm = tiny_lvm
    assert world.round(rollback=tuned).kind == "rollback"
    assert world.version().lvm_identity == TUNED


@pytest.mark.parametrize("fault", ["gone", "torn", "another", "record"])
def test_a_damaged_tuned_lvm_gives_way_to_that_of_the_settings(
    world: TunedWorld, fault: str
) -> None:
    tuned = promoted(world)
    folder = world.tuned_folder()
    spoil(folder, fault)
    task = {"id": world.tasks[55], "data": {"image": world.images[world.tasks[55]]}}
    assert world.predict(task)["result"], "what is encoded is still answered"
    assert world.predict({"id": 9, "data": {"image": "sky://Spiral/903"}})["result"] == []
    report = world.round()
    assert report.kind == "trained"
    assert "The tuned LVM in" in report.message
    assert "The LVM of the settings (GALAXYLOOP_LVM) is used again" in report.message
    assert world.version().lvm_identity == BASE
    assert "cannot be read" in world.version().gate["reason"]
    assert (world.version().votes, world.tuning().state) == (54, "lost")
    with pytest.raises(StoreError, match="cannot be brought back"):
        world.round(rollback=tuned)
    assert world.round().version is None


def spoil(folder: Path, fault: str) -> None:
    weights = folder / "model.safetensors"
    if fault == "gone":
        shutil.rmtree(folder)
    elif fault == "torn":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "another":
        nudged(tiny_lvm(), by=0.5).save_pretrained(folder)
    else:
        (folder / "tuning.json").write_text('{"base": "../../x", "seen": [1]}')


@pytest.mark.parametrize("fault", ["gone", "torn"])
def test_one_that_is_damaged_before_it_is_judged_is_given_up(world: TunedWorld, fault: str) -> None:
    before = world.labelled().version
    world.tune()
    spoil(world.tuned_folder(), fault)
    world.round()
    assert world.published == before
    assert world.tuning().state == "lost"
    assert "cannot be read" in world.tuning().reason


def test_a_label_studio_that_fails_delays_it(world: TunedWorld) -> None:
    before = world.labelled().version
    world.tune()
    importing = world.label_studio.import_predictions

    def refuse(*_: object, **__: object) -> int:
        raise LabelStudioError("Label Studio answered 500.", status=500, retryable=True)

    world.label_studio.import_predictions = refuse  # type: ignore[method-assign]
    with pytest.raises(LabelStudioError):
        world.round()
    assert (world.published, world.tuning().state) == (before, "ready")
    world.label_studio.import_predictions = importing  # type: ignore[method-assign]
    assert world.round().kind == "tuned"
    assert [v.state for v in world.versions()] == ["retired", "abandoned", "published"]


def test_a_round_killed_after_the_switch_only_lacks_a_note(
    world: TunedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.labelled()
    world.tune()

    class Killed(Exception):
        pass

    def crowned(work: object, version: object, candidate: object) -> None:
        rounds.rank_and_publish(work, version, candidate)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tuned_rounds, "rank_and_publish", crowned)
        with pytest.raises(Killed):
            world.round()
    assert world.version().lvm_identity == TUNED
    assert world.tuning().state == "ready"
    assert world.round().version is None
    assert world.tuning().state == "accepted"
    assert len(world.versions()) == 2


def test_a_tuned_lvm_that_no_version_needs_leaves_the_disk(tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(tuning, "finetune", quick)
    monkeypatch.setattr(tuned_rounds, "judge", lambda *_: PROMOTE)
    world = TunedWorld(tmp_path, versions_kept=2)
    base = str(world.labelled().version)
    world.tune()
    world.round()
    folder = tuned_folder(world.store.folder, 1, TUNED)
    prune(world.store, 1)
    assert folder.is_dir()
    world.round(rollback=base)
    world.round(force=True)
    world.round(force=True)
    prune(world.store, 1)
    assert not folder.exists()
    assert not (world.store.folder / "embeddings" / TUNED).exists()
    assert world.round().version is None
    world.store.close()


def test_one_that_nobody_knows_leaves_the_disk_when_nothing_is_tuned(world: TunedWorld) -> None:
    promoted(world)
    stray = tuned_folder(world.store.folder, 1, "a" * 32)
    write_tuned(stray, nudged(tiny_lvm()), BASE, [])
    row = world.store.tunings.begin(1, BASE, 200)
    prune(world.store, 1)
    assert stray.is_dir(), "a running job may just have written it"
    world.store.tunings.note(row.id, state="refused")
    prune(world.store, 1)
    assert not stray.exists()
    assert tuned_folder(world.store.folder, 1, TUNED).is_dir()


def test_switched_off_nothing_is_tuned_or_judged(world: TunedWorld) -> None:
    before = world.labelled().version
    world.tune()
    world.store.settings.tune_from = 0
    assert world.round().version is None
    assert world.published == before
    assert "switched off" in world.tune()


class Stripes(Sky):
    """Blobs with fine stripes across them (``sky://Spiral/7``), or the same blobs without."""

    def fetch(self, address: str) -> bytes:
        self.fetched.append(address)
        rng = np.random.default_rng(int(address.rsplit("/", 1)[1]))
        y, x = np.mgrid[:64, :64] - 31.5
        angle, width = rng.uniform(0, np.pi), rng.uniform(5, 9)
        striped = truth(address) == "Spiral"
        stripes = 1 + 0.2 * striped * np.sin(1.2 * (x * np.cos(angle) + y * np.sin(angle)))
        blob = np.exp(-(x**2 + y**2) / (2 * width**2))
        grey = 150 * blob * stripes + 255 * rng.normal(0, 0.06, (64, 64)) + 20
        return encode_png(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2))


@functools.lru_cache
def blind_lvm() -> LVM:
    """Return an LVM whose few numbers say little of stripes."""
    torch.manual_seed(0)
    config = tiny_lvm().config.as_dict() | {
        "blocks": "convolution", "depths": [1, 1, 2], "heads": [2, 2, 2], "window": 2, "views": 4,
        "pooling": ["mean2", "std1", "std2"], "projection": 3,
    }  # fmt: skip
    return LVM(LVMConfig.from_dict(config))


def test_tuning_that_helps_is_promoted_by_the_trial_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = FinetuningOptions(epochs=4, batch=16, rate=1e-3)
    monkeypatch.setattr(tuning, "finetune", functools.partial(finetune, options=how))
    world = TunedWorld(tmp_path, lvm=blind_lvm, tune_from=100)
    world.sky = Stripes()
    for task in world.tasks:
        world.label_studio.remove_task(task)
    addresses = [f"sky://{('Smooth', 'Spiral')[n % 2]}/{n}" for n in range(240)]
    for task, address in zip(world.label_studio.add_tasks(1, addresses), addresses, strict=True):
        if int(address.rsplit("/", 1)[1]) < 220:
            world.label_studio.annotate(task, truth(address))
    assert world.round().tune
    world.tune()
    report = world.round()
    assert report.kind == "tuned", world.versions()[-1].problem
    figures = world.version().gate["figures"]["all"]
    assert figures["rows"] == 44
    assert figures["challenger_log_loss"] < 0.9 * figures["champion_log_loss"]
    world.store.close()


def _hashes(world: TunedWorld) -> list[str]:
    with world.store.reading() as session:
        return [found for found in session.scalars(select(Task.content_hash)) if found]
