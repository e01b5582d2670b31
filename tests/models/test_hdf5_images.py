"""HDF5 files: stamps, single images, and files that lead elsewhere or are bombs."""

from __future__ import annotations

import io
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import galaxy, picture
from test_fits_companions import TAN

from models.images import ImageError, ImageLimits, content_hash, image_facts, read_image, to_rgb8


def hdf5(write: Callable[[h5py.File], Any]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


def stamps(count: int = 5, **options: Any) -> bytes:
    base = np.stack([galaxy(40, 40), 2 * galaxy(40, 40), 3 * galaxy(40, 40)])
    values = np.stack([base + row for row in range(count)]).astype(np.float32)
    return hdf5(lambda file: file.create_dataset("images", data=values, **options))


def refused(data: bytes, sentence: str, **options: Any) -> None:
    with pytest.raises(ImageError, match=sentence) as caught:
        read_image(data, **options)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (2, 3, 40, 40)},
        {"chunks": (2, 1, 16, 40), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (1, 3, 40, 40), "compression": "lzf"},
        {"dtype": ">f4"},
        {"dtype": "f8"},
        {"dtype": "f2"},
    ],
    ids=str,
)
def test_a_stamp_of_many(options: dict[str, Any]) -> None:
    image = read_image(stamps(**options), extension=3)
    expected = np.stack([galaxy(40, 40) * factor for factor in (1, 2, 3)]) + 3
    np.testing.assert_allclose(image.pixels, expected, rtol=2e-3, atol=0.05)
    assert (image.bands, image.pixel_scale, image.unit) == (("g", "r", "z"), 0.262, "nanomaggy")
    assert image.origin == "lower"
    same = read_image(stamps(**options), extension="images/3")
    np.testing.assert_array_equal(image.pixels, same.pixels)


def test_the_stamp_must_be_named_and_be_there() -> None:
    refused(stamps(), "holds 5 stamps; say which")
    for extension in (5, -1, 10**12, "images/7"):
        refused(stamps(), "no stamp", extension=extension)
    refused(stamps(), "has no image 'planes'; it has images", extension="planes")
    refused(stamps(), "no data set 'planes'", extension="planes/2")
    refused(stamps(), "no image", extension="images/٣")
    assert read_image(stamps(1)).pixels.shape == (3, 40, 40)


def test_stamps_have_different_hashes() -> None:
    data = stamps()
    assert len({content_hash(data, extension) for extension in (None, 0, 1, "images/1")}) == 4


def test_a_single_image_with_attributes() -> None:
    planes = np.stack([galaxy() * factor for factor in (1, 2, 3)])
    cards = "\n".join(
        [f"{key:8}= {value!r:>20}" for key, value in TAN.items()] + ["BUNIT   = 'ignored '"]
    )

    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("survey/cutout", data=np.moveaxis(planes, 0, 2))
        dataset.attrs["bands"] = "gri"
        dataset.attrs["unit"] = "Jy"
        file.attrs["header"] = cards
        file.create_dataset("catalogue", data=np.arange(5))

    image = read_image(hdf5(write))
    np.testing.assert_array_equal(image.pixels, planes)
    assert (image.bands, image.unit) == (("g", "r", "i"), "Jy")
    assert image.pixel_scale == pytest.approx(0.262)
    assert image_facts(image)["dec"] == pytest.approx(2 + 0.5 * 0.262 / 3600, abs=1e-9)


def test_single_bands_and_origin() -> None:
    def write(file: h5py.File) -> None:
        file["image"] = galaxy()
        file["image"].attrs["origin"] = "upper"
        file["image"].attrs["pixel_scale"] = 0.168
        file["weights"] = galaxy()

    image = read_image(hdf5(write))
    assert (image.origin, image.pixel_scale, image.bands) == ("upper", 0.168, ("1",))
    many = hdf5(lambda file: file.create_dataset("stamps", data=np.stack([galaxy()] * 30)))
    np.testing.assert_array_equal(read_image(many, extension=29).pixels[0], galaxy())
    few = hdf5(lambda file: file.create_dataset("stamps", data=np.stack([galaxy()] * 4)))
    assert read_image(few).pixels.shape == (4, 40, 50)
    assert read_image(few, extension=2).pixels.shape == (1, 40, 50)


def test_bytes_with_three_bands_are_a_picture() -> None:
    for values in (picture(), np.moveaxis(picture(), 2, 0)):
        image = read_image(hdf5(lambda file, values=values: file.create_dataset("a", data=values)))
        assert image.kind == "rgb8"
        np.testing.assert_array_equal(to_rgb8(image), picture())


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda file: None, "no data set of numbers"),
        (lambda file: file.create_dataset("a", data=np.arange(5.0)), "no data set of numbers"),
        (lambda file: file.create_dataset("a", data=np.zeros((2, 2, 2, 9, 9))), "no data set"),
        (lambda file: file.create_dataset("a", data=["text"]), "no data set of numbers"),
        (lambda file: file.create_dataset("a", data=np.zeros((9, 9), "c8")), "no data set"),
        (lambda file: file.create_dataset("a", data=np.zeros((9, 9), "f4,f4")), "no data set"),
        (lambda file: file.create_dataset("a", (0, 9), "f4"), "no pixels"),
        (lambda file: file.create_dataset("images", (0, 3, 9, 9), "f4"), "say which|no stamp"),
        (lambda file: file.create_dataset("a", data=np.zeros((5, 7, 9))), "which axis"),
        (lambda file: file.create_dataset("a", (90_000, 90_000), "f4"), "90,000 pixels"),
        (lambda file: file.create_dataset("a", (2**62, 2**62), "f4"), "pixels"),
        (lambda file: file.create_dataset("a", data=np.full((9, 9), np.nan)), "no finite value"),
        (lambda file: [file.create_dataset(n, data=galaxy()) for n in "ab"], r"2 data sets .*a, b"),
        (lambda file: [file.create_group(f"g{n}") for n in range(1200)], "more than the 1000"),
    ],
)
def test_what_is_no_image_is_refused(write: Callable[..., Any], sentence: str) -> None:
    refused(hdf5(write), sentence)


def test_no_other_file_is_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\1" * 8000)
    other = tmp_path / "other.h5"
    other.write_bytes(hdf5(lambda file: file.create_dataset("image", data=galaxy())))
    external = [(str(secret), 0, 8000)]
    refused(
        hdf5(lambda file: file.create_dataset("image", (40, 50), "f4", external=external)),
        "from other files",
    )
    layout = h5py.VirtualLayout((40, 50), "f4")
    layout[:] = h5py.VirtualSource(str(other), "image", (40, 50))
    refused(hdf5(lambda file: file.create_virtual_dataset("image", layout)), "from other files")

    def link(file: h5py.File) -> None:
        file["image"] = h5py.ExternalLink(str(other), "image")
        file["soft"] = h5py.SoftLink("/image")

    refused(hdf5(link), "no data set of numbers")
    refused(hdf5(link), "no data set of numbers", extension="image")


def test_circles_end() -> None:
    def write(file: h5py.File) -> None:
        file.create_group("a")["back"] = file["/"]
        file["a/image"] = galaxy()

    assert read_image(hdf5(write)).pixels.shape == (1, 40, 50)


def test_foreign_filters_are_not_looked_for() -> None:
    refused(stamps(chunks=(1, 3, 40, 40), scaleoffset=3), "packed by a filter", extension=0)


def test_bombs_are_refused_before_they_unpack() -> None:
    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("a", (64, 64), "f4", chunks=(64, 64), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**25), 9))

    wide = hdf5(
        lambda file: file.create_dataset(
            "a", (64, 2**31), "f4", chunks=(64, 2**23), maxshape=(64, None)
        )
    )
    many = hdf5(
        lambda file: file.create_dataset(
            "images", (2**20, 3, 64, 64), "f4", chunks=(2**15, 3, 64, 64), compression="gzip"
        )
    )
    for data, sentence, extension in (
        (hdf5(write), "unpacks beyond", None),
        (wide, "pixels", None),
        (many, "chunks of", 7),
    ):
        tracemalloc.start()
        refused(data, sentence, extension=extension)
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
        tracemalloc.stop()


def test_truncated() -> None:
    data = stamps(compression="gzip", chunks=(1, 3, 40, 40))
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        refused(data[: int(len(data) * share)], "HDF5 file is broken or cut short", extension=1)


def test_odd_attributes_are_passed_over() -> None:
    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("image", data=galaxy())
        dataset.attrs["bands"] = np.zeros((3, 3))
        dataset.attrs["unit"] = np.arange(4)
        dataset.attrs["origin"] = np.arange(4)
        dataset.attrs["pixel_scale"] = "wide"
        dataset.attrs["header"] = "CTYPE1 = nonsense\n" * 5

    image = read_image(hdf5(write))
    assert (image.bands, image.unit, image.pixel_scale) == (("1",), None, None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_flipped_bytes_never_escape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(stamps(2, compression="gzip", chunks=(1, 3, 40, 40)))
    for place in rng.integers(8, len(data), 6):
        data[place] = rng.integers(0, 256)
    try:
        image = read_image(bytes(data), ImageLimits(max_pixels=1_000_000), 0)
    except ImageError:
        return
    assert np.isfinite(image.pixels).all()
