"""Many images through the LVM: in order, in flat memory, with the numbers of one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from models import throughput
from models.images import GalaxyImage, Preprocessing, encode_png, read_image, to_tensor
from models.lvm import LVM, LVMConfig
from models.sources import load_lvm
from models.throughput import (
    Plan,
    Prepared,
    best_device,
    embed,
    encode_images,
    encode_stream,
    plan_for,
)

FLOAT = torch.float32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What is compared with runs on one thread, so that busy machines do not slow it down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_lvm(**changes: object) -> LVM:
    torch.manual_seed(3)
    config = {
        "image_size": 32,
        "window": 4,
        "width": 8,
        "depths": (1, 1),
        "heads": (1, 2),
        "decoder": False,
        "pooling": ("mean0", "std1"),
        "preprocessing": Preprocessing("rgb8", 32),
    }
    return LVM(LVMConfig(**(config | changes)))  # type: ignore[arg-type]


def pictures(count: int) -> list[GalaxyImage]:
    rng = np.random.default_rng(0)
    return [
        read_image(encode_png(rng.integers(0, 255, (40, 45, 3), dtype=np.uint8)))
        for _ in range(count)
    ]


def alone(lvm: LVM, images: list[GalaxyImage]) -> np.ndarray:
    rows = [lvm.encode(to_tensor(i, lvm.config.preprocessing)[None]).pooled[0] for i in images]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("views", [1, 4])
def test_embeddings_are_those_of_one_by_one_in_order(lanes: int, views: int) -> None:
    lvm, images = small_lvm(views=views), pictures(23)

    def prepare(place: int) -> Prepared[int]:
        time.sleep(0.002 * (place % 3))  # later images may be ready earlier
        return Prepared(place, to_tensor(images[place], lvm.config.preprocessing))

    groups = list(encode_stream(lvm, range(23), prepare, Plan(4, FLOAT, lanes)))
    assert [len(group) for group in groups] == [4] * 5 + [3]
    places = [place for group in groups for place, _ in group]
    assert places == list(range(23))
    rows = np.stack([row for group in groups for _, row in group if row is not None])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, alone(lvm, images), rtol=1e-5, atol=1e-6)


def test_the_same_plan_gives_the_same_bits_however_many_lanes() -> None:
    lvm, images = small_lvm(views=4), pictures(20)

    def rows(lanes: int) -> np.ndarray:
        def prepare(image: GalaxyImage) -> Prepared[None]:
            return Prepared(None, to_tensor(image, lvm.config.preprocessing))

        stream = encode_stream(lvm, images, prepare, Plan(8, FLOAT, lanes))
        return np.stack([row for group in stream for _, row in group if row is not None])

    assert np.array_equal(rows(1), rows(4))


def test_what_has_no_input_passes_by_and_equal_keys_are_encoded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lvm, images = small_lvm(), pictures(3)
    encoded: list[int] = []
    real = lvm.encode
    monkeypatch.setattr(lvm, "encode", lambda x: encoded.append(len(x)) or real(x))

    def prepare(place: int) -> Prepared[int]:
        if place == 1:
            return Prepared(place)
        tensor = to_tensor(images[place % 3], lvm.config.preprocessing)
        return Prepared(place, tensor, key=f"k{place % 3}")

    [group] = list(encode_stream(lvm, range(6), prepare, Plan(8, FLOAT, 1)))
    assert [row is None for _, row in group] == [False, True] + [False] * 4
    assert encoded == [3]
    assert np.array_equal(group[0][1], group[3][1])


@pytest.mark.parametrize("lanes", [1, 2])
def test_memory_does_not_grow_with_the_number_of_images(lanes: int) -> None:
    lvm, image = small_lvm(), pictures(1)[0]
    lock, live, most, ahead = threading.Lock(), [0], [0], [0]

    class Counted(torch.Tensor):
        def __del__(self) -> None:
            with lock:
                live[0] -= 1

    def prepare(_: int) -> Prepared[None]:
        tensor = to_tensor(image, lvm.config.preprocessing).as_subclass(Counted)
        with lock:
            live[0] += 1
            most[0] = max(most[0], live[0])
        return Prepared(None, tensor)

    def source() -> Iterator[int]:
        for place in range(200):
            ahead[0] = place
            yield place

    done = 0
    for group in encode_stream(lvm, source(), prepare, Plan(4, FLOAT, lanes)):
        done += len(group)
        assert ahead[0] - done < 4 * (lanes + 1)
    assert done == 200
    # Groups: in the lanes, waiting for one, and the one just being made.
    assert 0 < most[0] <= 4 * (lanes + 3)


def test_what_a_reader_raises_ends_the_stream_and_its_threads() -> None:
    before = threading.active_count()

    def prepare(place: int) -> Prepared[int]:
        if place == 9:
            raise ZeroDivisionError
        return Prepared(place)

    with pytest.raises(ZeroDivisionError):
        list(encode_stream(small_lvm(), range(1000), prepare, Plan(4, FLOAT, 2)))
    stream = encode_stream(small_lvm(), range(8), lambda p: Prepared(p), Plan(2, FLOAT, 2))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_lanes_leave_the_threads_of_others_as_they_were() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        seen: list[int] = []
        lvm = small_lvm()
        real = lvm.encode
        lvm.encode = lambda x: seen.append(torch.get_num_threads()) or real(x)  # type: ignore
        list(encode_images(lvm, pictures(3)))
        assert seen == [1]
        assert torch.get_num_threads() == 3
        other: list[int] = []
        thread = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert other == [3]
    finally:
        torch.set_num_threads(before)


def test_encode_images_tells_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "has_fast_bfloat16", lambda device: False)
    lvm, images, done = small_lvm(), pictures(5), list[int]()
    rows = np.stack(list(encode_images(lvm, iter(images), batch_size=2, progress=done.append)))
    assert done == [2, 2, 1]
    np.testing.assert_allclose(rows, alone(lvm, images), rtol=1e-5, atol=1e-6)
    assert list(encode_images(lvm, [])) == []


def test_the_plan_follows_from_machine_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "has_fast_bfloat16", lambda device: True)
    assert plan_for(small_lvm()).precision is torch.bfloat16
    steep = small_lvm(attention_scale=8.0)
    assert plan_for(steep).precision is torch.float32, "it would amplify the rounding"
    monkeypatch.setattr(throughput, "has_fast_bfloat16", lambda device: False)
    assert plan_for(small_lvm()).precision is torch.float32
    few, many = plan_for(small_lvm(views=8)).images, plan_for(small_lvm()).images
    assert 4 <= few <= many
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert plan_for(small_lvm()).lanes == 1
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_bfloat16_gives_nearly_the_same_embeddings() -> None:
    lvm = load_lvm()
    [image] = pictures(1)
    images = to_tensor(image, lvm.config.preprocessing)[None]
    exact = embed(lvm, images, Plan(2, FLOAT, 1))
    rounded = embed(lvm, images, Plan(2, torch.bfloat16, 1))
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    product = (exact * rounded).sum(1)
    cosine = product / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert cosine.min() > 0.999
