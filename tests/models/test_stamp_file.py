from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from models.frame import Frame
from models.galaxy_image import ImageError
from models.preprocessing import Preprocessing, to_tensor
from models.stamp_file import ShuffledRows, StampFile
from models.stamp_sources import FileSource


def write(path: Path, images: Any = None, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        if images is not None:
            file.create_dataset("images", data=images, **options)
    return path


def flux(count: int = 5, side: int = 40) -> np.ndarray:
    rng = np.random.default_rng(3)
    sky = rng.normal(0, 0.01, (count, 3, side, side))
    x = np.arange(side) - side / 2
    galaxy = np.exp(-0.5 * (x[:, None] ** 2 + x**2) / 9)
    return (sky + galaxy * np.array([0.5, 1.0, 1.5])[:, None, None]).astype(np.float32)


def test_float_stamps_are_flux_and_bytes_are_pictures(tmp_path: Path) -> None:
    values = flux()
    file = StampFile(write(tmp_path / "a.h5", values))
    image = file.image(2)
    assert (file.count, file.side, file.flux) == (5, 40, True)
    assert (image.kind, image.bands, image.unit) == ("flux", ("g", "r", "z"), "nanomaggy")
    assert np.array_equal(image.pixels, values[2])
    bytes_ = np.random.default_rng(0).integers(0, 256, (4, 3, 40, 40), dtype=np.uint8)
    picture = StampFile(write(tmp_path / "b.h5", bytes_)).image(1)
    assert picture.kind == "rgb8"
    assert np.array_equal(picture.pixels, bytes_[1])


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (None, "holds no data set images; it holds nothing"),
        (np.zeros((2, 40, 40, 3), np.float32), r"shape \[2, 40, 40, 3\]; it must be \[n, 3"),
        (np.zeros((3, 40, 40), np.float32), r"shape \[3, 40, 40\]"),
        (np.zeros((2, 3, 40, 41), np.float32), "must be"),
        (np.zeros((2, 3, 8, 8), np.float32), "8 pixels a side; 32 to 2048"),
        (np.zeros((0, 3, 40, 40), np.float32), "is empty"),
        (np.zeros((2, 3, 40, 40), np.int32), "holds int32; store linear flux as float32"),
        (np.zeros((2, 3, 40, 40), np.complex64), "holds complex64"),
        (np.float32(1), r"shape \[\]"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, images: Any, told: str) -> None:
    path = write(tmp_path / "stamps.h5", images)
    with pytest.raises(ValueError, match=told) as caught:
        StampFile(path)
    assert "stamps.h5" in str(caught.value)


def test_a_group_or_a_link_to_nowhere_is_no_data_set(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("images")
    with pytest.raises(ValueError, match="holds no data set images"):
        StampFile(tmp_path / "group.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["images"] = h5py.ExternalLink("nowhere.h5", "images")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        StampFile(tmp_path / "link.h5")


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 500])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        StampFile(tmp_path / "x.h5")


def test_a_torn_file_is_told_at_once_or_where_it_is_torn(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.h5", flux(64), chunks=(8, 3, 40, 40), compression="gzip")
    data = path.read_bytes()
    (tmp_path / "short.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"short.h5 cannot be read as HDF5: .*truncated"):
        StampFile(tmp_path / "short.h5")
    with h5py.File(path) as file:
        place = file["images"].id.get_chunk_info(3).byte_offset
    damaged = bytearray(data)
    damaged[place : place + 200] = b"\xaa" * 200
    (tmp_path / "damaged.h5").write_bytes(bytes(damaged))
    file_ = StampFile(tmp_path / "damaged.h5")
    file_.image(0)
    with pytest.raises(ValueError, match=r"damaged.h5: stamp 24 cannot be read .* torn"):
        file_.image(24)


def test_a_file_larger_than_memory_is_read_stamp_by_stamp(tmp_path: Path) -> None:
    count = 4_000_000
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        # Over a terabyte; chunks that were never written take no room.
        images = file.create_dataset("images", (count, 3, 152, 152), "f4", chunks=(16, 3, 152, 152))
        images[17] = np.float32(1.5)
    found = StampFile(tmp_path / "huge.h5")
    rows = found.order.rows(0, 10**9, 64)
    assert len(set(rows.tolist())) == 64
    assert rows.max() > count / 4
    assert found.image(int(rows[0])).pixels.shape == (3, 152, 152)
    assert (found.image(17).pixels == 1.5).all()


def test_missing_pixels_are_filled_and_empty_stamps_passed_over(tmp_path: Path) -> None:
    values = flux()
    values[1, 0, 3, 3] = np.nan
    values[2, 1] = np.nan
    values[3] = np.inf
    file = StampFile(write(tmp_path / "a.h5", values))
    assert file.image(1).missing == 1
    assert np.isfinite(file.image(1).pixels).all()
    with pytest.raises(ImageError, match="Band r has no finite value"):
        file.image(2)
    found = file.usable(2, lambda image: image)
    assert np.array_equal(found.pixels, values[4])
    values[:] = np.nan
    hopeless = StampFile(write(tmp_path / "b.h5", values))
    with pytest.raises(ValueError, match="no usable stamp near row 2; stamp 2: Band g"):
        hopeless.usable(2, lambda image: image)


def test_it_may_be_handed_to_another_process(tmp_path: Path) -> None:
    file = StampFile(write(tmp_path / "a.h5", flux()))
    again = pickle.loads(pickle.dumps(file))
    assert again._opened is None
    assert np.array_equal(again.image(3).pixels, file.image(3).pixels)


@pytest.mark.parametrize(("count", "stretch", "group"), [(10, 1, 2), (103, 8, 32), (7, 32, 64)])
def test_shuffled_rows_come_once_per_epoch(count: int, stretch: int, group: int) -> None:
    order = ShuffledRows(count, stretch, group)
    for epoch in range(2):
        seen = [order.rows(5, epoch * count + i, 1)[0] for i in range(count)]
        assert sorted(seen) == list(range(count))
        assert seen != sorted(seen)
    again = ShuffledRows(count, stretch, group)
    assert np.array_equal(again.rows(5, count + 2, 4), order.rows(5, count + 2, 4))
    assert not np.array_equal(order.rows(6, 0, count), order.rows(5, 0, count))


def test_no_row_comes_twice_in_one_draw_not_even_between_epochs() -> None:
    order = ShuffledRows(10, 2, 4)
    for first in range(60):
        rows = order.rows(1, first, 9)
        assert len(set(rows.tolist())) == 9
        assert (rows >= 0).all()
        assert (rows < 10).all()
    with pytest.raises(ValueError, match="11 different stamps are wanted of 10"):
        order.rows(1, 0, 11)


def test_neighbours_in_the_order_lie_near_each_other_in_the_file() -> None:
    order = ShuffledRows(100_000, 64, 1024)
    rows = order.rows(0, 0, 1024)
    assert len(np.unique(rows // 64)) == 16, "a group is made of whole stretches"
    assert np.abs(np.diff(rows)).mean() > 1000, "and shuffled"


def test_training_sees_the_flux_that_encoding_will_see(tmp_path: Path) -> None:
    wanted = Preprocessing(kind="flux", size=64, crop=64 / 76, stretch="linear", gain=10.0)
    file = StampFile(write(tmp_path / "a.h5", flux(4, 76)))
    frame = Frame.of(wanted)
    assert frame.side == 76, "not resampled"
    source = FileSource(file, frame, tmp_path, print)
    canvas, measurements = source.read(1, measuring=True)
    assert canvas.dtype == np.float32
    assert measurements is not None
    assert np.isfinite(measurements).all()
    seen = to_tensor(file.image(1), wanted).numpy()
    np.testing.assert_array_equal(np.moveaxis(canvas[6:70, 6:70], -1, 0), seen)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_stamp_that_overflows_is_passed_over(tmp_path: Path) -> None:
    values = flux(4, 76)
    values[1, 2, 30, 30] = 1e38
    file = StampFile(write(tmp_path / "a.h5", values))
    frame = Frame.of(Preprocessing(kind="flux", size=64, crop=0.8, stretch="linear", gain=1e6))
    source = FileSource(file, frame, tmp_path, print)
    assert np.array_equal(source.read(1, False)[0], source.read(2, False)[0])


def test_pictures_are_no_flux(tmp_path: Path) -> None:
    bytes_ = np.zeros((4, 3, 40, 40), dtype=np.uint8)
    file = StampFile(write(tmp_path / "a.h5", bytes_))
    frame = Frame.of(Preprocessing(kind="flux", size=32))
    with pytest.raises(ValueError, match=r"holds pictures \(uint8\), but this LVM wants flux"):
        FileSource(file, frame, tmp_path, print)
