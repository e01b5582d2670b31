"""Encoding: once per image, in order, with a broken one costing only itself."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import transformers
from astropy.io import fits
from sqlalchemy import select
from stand_ins import SHAPE_CONFIG, Sky, settings_of, sky, tiny_lvm

from ml_backend.errors import SettingsError
from ml_backend.loop.encoding import (
    BATCH,
    FETCHERS,
    ImageJob,
    encode_missing,
    load_lvm,
    missing_images,
)
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Task
from models.images import Preprocessing, content_hash, read_image, to_tensor
from models.recipe import Recipe


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(settings_of(tmp_path))
    opened.projects.save(1, "Galaxies", SHAPE_CONFIG)
    yield opened
    opened.close()


def add(store: Store, addresses: list[str]) -> list[ImageJob]:
    with store.session() as session:
        for number, address in enumerate(addresses, start=1):
            session.add(Task(id=number, project_id=1, image=address))
    return [ImageJob(number, address) for number, address in enumerate(addresses, start=1)]


def tasks(store: Store) -> list[Task]:
    with store.reading() as session:
        return list(session.scalars(select(Task).order_by(Task.id)))


def alike(kept: np.ndarray, exact: np.ndarray) -> bool:
    """Whether they differ by no more than bfloat16 makes them, where the hardware has it."""
    return bool(np.linalg.norm(kept - exact) < 0.02 * np.linalg.norm(exact))


def test_embeddings_are_those_of_each_image_encoded_alone(store: Store) -> None:
    jobs = add(store, sky(40))
    seen: list[tuple[int, int]] = []
    report = encode_missing(
        store, Sky(), tiny_lvm(), jobs, lambda done, total: seen.append((done, total))
    )
    assert (report.encoded, report.reused, report.broken, report.left) == (40, 0, 0, 0)
    assert seen == [(16, 40), (32, 40), (40, 40)]
    embeddings = store.embeddings(tiny_lvm().identity)
    for task in tasks(store)[::7]:
        data = Sky().fetch(task.image)
        assert task.content_hash == content_hash(data)
        tensor = to_tensor(read_image(data), tiny_lvm().config.preprocessing)
        alone = tiny_lvm().encode(tensor[None]).pooled[0].numpy()
        kept, found = embeddings.get([str(task.content_hash)])
        assert found.all()
        assert alike(kept[0], alone)


def test_nothing_is_encoded_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lvm, encoded = tiny_lvm(), []
    real = lvm.encode
    monkeypatch.setattr(lvm, "encode", lambda images: encoded.append(len(images)) or real(images))
    jobs = add(store, [*sky(5), *sky(5), *sky(20)])
    embeddings = store.embeddings(lvm.identity, lvm.dimension)
    assert len(missing_images(store, 1, embeddings)) == 30
    encode_missing(store, Sky(), lvm, jobs)
    assert sum(encoded) == 20, "equal images are encoded once"
    assert missing_images(store, 1, embeddings) == []
    encode_missing(store, Sky(), lvm, jobs)
    assert sum(encoded) == 20
    other = store.embeddings("another-lvm", 3)
    assert len(missing_images(store, 1, other)) == 30


def test_broken_images_are_told_and_tried_again_later(store: Store) -> None:
    jobs = add(store, [*sky(3), "junk://1", "file:///etc/passwd", *sky(2, start=3)])
    report = encode_missing(store, Sky(), tiny_lvm(), jobs)
    assert (report.encoded, report.broken) == (5, 2)
    problems = [task.problem for task in tasks(store)]
    assert [problem is not None for problem in problems] == [False] * 3 + [True] * 2 + [False] * 2
    assert problems[4] == "file:///etc/passwd may not be read."
    embeddings = store.embeddings(tiny_lvm().identity)
    assert missing_images(store, 1, embeddings) == []
    assert [job.task_id for job in missing_images(store, 1, embeddings, retry_after=0)] == [4, 5]


def test_images_of_one_file_are_told_apart(store: Store) -> None:
    planes = [np.random.default_rng(seed).normal(0, 1, (40, 40)) for seed in (1, 2)]
    hdus = [fits.ImageHDU(plane.astype(np.float32)) for plane in planes]
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer)

    class File(Sky):
        def fetch(self, address: str) -> bytes:
            return buffer.getvalue()

    pictures = store.picture_addresses()
    addresses = [pictures.address("/data/upload/1/a.fits", extension=e) for e in (1, 2)]
    jobs = add(store, [*addresses, "/data/upload/1/a.fits#extension=2", "/data/upload/1/a.fits"])
    assert encode_missing(store, File(), tiny_lvm(), jobs).broken == 0
    hashes = [task.content_hash for task in tasks(store)]
    assert hashes[1] == hashes[2]
    assert len(set(hashes)) == 3
    rows, found = store.embeddings(tiny_lvm().identity).get([str(h) for h in hashes])
    assert found.all()
    assert (rows[0] != rows[1]).any()
    assert (rows[0] == rows[3]).all()


def test_what_no_reader_foresaw_stops_nobody(store: Store) -> None:
    class Odd(Sky):
        def fetch(self, address: str) -> bytes:
            if address.endswith("/1"):
                raise ZeroDivisionError("secret detail")
            return super().fetch(address)

    jobs = add(store, sky(3))
    assert encode_missing(store, Odd(), tiny_lvm(), jobs).broken == 1
    problem = tasks(store)[1].problem
    assert problem == "The image could not be read (ZeroDivisionError)."


def test_a_task_whose_image_changed_meanwhile_stays_to_be_encoded(store: Store) -> None:
    jobs = add(store, sky(1))
    with store.session() as session:
        task = session.get(Task, 1)
        assert task is not None
        task.image = "sky://Merger/9"
    encode_missing(store, Sky(), tiny_lvm(), jobs)
    assert tasks(store)[0].content_hash is None


def test_few_images_wait_in_memory_and_fetching_overlaps(store: Store) -> None:
    lock, now, most, started = threading.Lock(), [0], [0], [0]
    taken: list[int] = []

    class Counting(Sky):
        def fetch(self, address: str) -> bytes:
            with lock:
                now[0] += 1
                started[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.005)
            data = super().fetch(address)
            with lock:
                now[0] -= 1
            return data

    def progress(done: int, _total: int) -> None:
        taken.append(started[0] - done)

    encode_missing(store, Counting(), tiny_lvm(), add(store, sky(150)), progress)
    assert 1 < most[0] <= FETCHERS
    assert max(taken) <= 2 * BATCH


def test_time_is_bounded_and_stopping_keeps_what_is_done(store: Store) -> None:
    jobs = add(store, sky(48))
    report = encode_missing(store, Sky(), tiny_lvm(), jobs, seconds=0)
    assert (report.encoded, report.left) == (16, 32)

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_missing(store, Sky(), tiny_lvm(), jobs[16:], stop)
    assert len(store.embeddings(tiny_lvm().identity)) == 32


def test_a_hugging_face_encoder_takes_the_place_of_the_lvm(store: Store, tmp_path: Path) -> None:
    config = transformers.ConvNextV2Config(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2)
    folder = tmp_path / "theirs"
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    recipe = Recipe(Preprocessing("rgb8", 32, mean=(0.5,) * 3, std=(0.2,) * 3), ("mean1", "std1"))
    (folder / "galaxyloop.json").write_text(json.dumps(recipe.as_dict()))
    lvm = load_lvm(settings_of(tmp_path, lvm=folder))
    jobs = add(store, [*sky(20), "junk://1"])
    report = encode_missing(store, Sky(), lvm, jobs)
    assert (report.encoded, report.broken) == (20, 1)
    kept, found = store.embeddings(lvm.identity).get(
        [str(task.content_hash) for task in tasks(store)[:20]]
    )
    assert found.all()
    assert kept.shape == (20, 24)
    data = Sky().fetch(jobs[7].address)
    tensor = to_tensor(read_image(data), recipe.preprocessing)
    alone = lvm.encode(tensor[None]).pooled[0].numpy()
    assert alike(kept[7], alone)


def test_an_lvm_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_LVM"):
        load_lvm(settings_of(tmp_path, lvm=tmp_path / "nothing"))
    tiny_lvm().save_pretrained(tmp_path / "lvm")
    loaded = load_lvm(settings_of(tmp_path, lvm=tmp_path / "lvm"))
    assert loaded.identity == tiny_lvm().identity
    assert load_lvm(settings_of(tmp_path, lvm=tmp_path / "lvm")) is loaded
