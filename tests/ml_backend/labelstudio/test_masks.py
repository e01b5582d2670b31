"""Masks on the wire: run lengths and PNG, bit by bit as Label Studio has them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter import brush
from PIL import Image

from ml_backend.labelstudio.bitmask import BitmaskError, data_url_to_mask, mask_to_data_url
from ml_backend.labelstudio.rle import (
    RleError,
    decode_rle,
    encode_rle,
    mask_to_rle,
    opaque,
    rle_to_mask,
)

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))
VALUES = st.lists(
    st.tuples(st.integers(0, 255), st.sampled_from([1, 1, 2, 8, 9, 16, 17, 256, 257, 70_000])),
    min_size=1,
    max_size=12,
).map(lambda runs: np.repeat(*np.array(runs).T).astype(np.uint8))


@settings(max_examples=100, deadline=None)
@given(MASKS)
def test_masks_are_encoded_and_decoded_as_by_the_sdk(mask: np.ndarray) -> None:
    coded = mask_to_rle(mask)
    assert coded == brush.mask2rle(np.where(mask, 255, 0).astype(np.uint8))
    theirs = brush.decode_rle(coded).reshape(*mask.shape, 4)[:, :, 3] > 0
    ours = rle_to_mask(coded, *mask.shape)
    assert np.array_equal(ours, mask)
    assert np.array_equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_any_values_are_encoded_and_decoded_as_by_the_sdk(values: np.ndarray) -> None:
    coded = encode_rle(values)
    assert coded == brush.encode_rle(values)
    assert np.array_equal(decode_rle(coded, len(values)), values)


def editors_encode(values: Sequence[int]) -> list[int]:
    """The editor's own encoder (@thi.ng/rle-pack), which also writes values as they are."""
    bits: list[str] = [f"{len(values):032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"]

    def item(repeated: bool, length: int, words: Sequence[int]) -> None:
        which = next(i for i, size in enumerate((3, 4, 8, 16)) if length - 1 < 1 << size)
        size = (3, 4, 8, 16)[which]
        bits.append(f"{repeated:b}{which:02b}{length - 1:0{size}b}")
        bits.extend(f"{word:08b}" for word in words)

    place, chunk = 0, []
    while place < len(values):
        end = place
        while end < len(values) and values[end] == values[place] and end - place < 65536:
            end += 1
        if end - place > 1:
            if chunk:
                item(False, len(chunk), chunk)
                chunk = []
            item(True, end - place, [values[place]])
        else:
            chunk.append(values[place])
        place = end
    if chunk:
        item(False, len(chunk), chunk)
    text = "".join(bits)
    text += "0" * (-len(text) % 8 + 16)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_what_the_editor_encodes_is_read(values: np.ndarray) -> None:
    coded = editors_encode(values.tolist())
    assert np.array_equal(decode_rle(coded, len(values)), values)
    assert np.array_equal(brush.decode_rle(coded), values)


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_soft_edges_of_strokes_are_cut_at_half(opacity: np.ndarray) -> None:
    coded = editors_encode(np.repeat(opacity.ravel(), 4).tolist())
    assert np.array_equal(rle_to_mask(coded, *opacity.shape), opaque(opacity))


def test_half_of_the_most_opaque_pixel_counts() -> None:
    opacity = np.array([[0, 1, 127, 128, 255]], np.uint8)
    assert opaque(opacity).tolist() == [[False, False, False, True, True]]
    assert opaque(np.array([[0, 1]], np.uint8)).tolist() == [[False, True]]
    assert not opaque(np.zeros((2, 2), np.uint8)).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (513, 3), (512, 512)])
def test_full_empty_and_single_pixel_masks(shape: tuple[int, int]) -> None:
    single = np.zeros(shape, bool)
    single[-1, -1] = True
    for mask in (np.zeros(shape, bool), np.ones(shape, bool), single):
        assert np.array_equal(rle_to_mask(mask_to_rle(mask), *shape), mask)
        assert np.array_equal(data_url_to_mask(mask_to_data_url(mask), *shape), mask)


GOOD = mask_to_rle(np.eye(8, dtype=bool))


@pytest.mark.parametrize(
    ("rle", "said"),
    [
        (None, "no list"),
        ("rle", "no list"),
        ([], "header"),
        ([0, 1, 2], "header"),
        ([*GOOD[:10], 256], "0 to 255"),
        ([*GOOD[:10], -1], "0 to 255"),
        ([*GOOD[:10], 1.5], "0 to 255"),
        ([*GOOD[:10], None], "0 to 255"),
        ([*GOOD[:10], 10**30], "0 to 255"),
        (GOOD[:-3], "ends"),
        (GOOD[:8], "ends"),
        (mask_to_rle(np.eye(9, dtype=bool)), "the image has 256"),
        ([255, 255, 255, 255, *GOOD[4:]], "4294967295 values"),
        ([*GOOD[:4], 255, *GOOD[5:]], "bits"),
        ([*GOOD, *[0] * 100_000], "too many"),
    ],
)
def test_broken_run_lengths_are_refused(rle: object, said: str) -> None:
    with pytest.raises(RleError, match=said):
        rle_to_mask(rle, 8, 8)


def test_claims_of_giant_masks_cost_nothing() -> None:
    bomb = struct.pack(">I", 2**32 - 1) + bytes(GOOD[4:])
    with pytest.raises(RleError, match="at most"):
        decode_rle(list(bomb), 64_000_000)
    with pytest.raises(RleError, match="no values"):
        encode_rle(np.zeros(0, np.uint8))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=60))
def test_any_bytes_are_read_or_refused(data: list[int]) -> None:
    try:
        mask = rle_to_mask([0, 0, 1, 0, *GOOD[4:7], *data], 8, 8)
    except RleError:
        return
    assert mask.shape == (8, 8)


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_bitmasks_come_back_exactly(mask: np.ndarray) -> None:
    url = mask_to_data_url(mask)
    assert np.array_equal(data_url_to_mask(url, *mask.shape), mask)
    file = io.BytesIO(base64.b64decode(url.split(",")[1]))
    pixels = np.asarray(Image.open(file))
    # As the editor: black where the mask is, transparent elsewhere.
    assert pixels.shape == (*mask.shape, 4)
    assert not pixels[..., :3].any()


def png(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def picture(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def giant() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels in a few bytes."""

    def part(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", body) + part(b"IEND", b"")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "start"),
        ("https://example.org/mask.png", "start"),
        ("data:image/svg+xml;base64,AAAA", "start"),
        ("data:image/png;base64,???", "read"),
        ("data:image/png;base64,é", "read"),
        (png(b"no picture"), "read"),
        (png(picture(Image.new("RGBA", (8, 8)))[:-30]), "read"),
        (png(picture(Image.new("RGB", (8, 8)), "JPEG")), "read"),
        (png(picture(Image.new("RGBA", (9, 8)))), "9 x 8"),
        (png(giant()), "60000|read"),
    ],
)
def test_broken_bitmasks_are_refused(url: object, said: str) -> None:
    with pytest.raises(BitmaskError, match=said):
        data_url_to_mask(url, 8, 8)


def test_other_kinds_of_png_are_read_by_their_opacity() -> None:
    grey = Image.new("LA", (2, 1))
    grey.putpixel((1, 0), (200, 255))
    assert data_url_to_mask(png(picture(grey)), 1, 2).tolist() == [[False, True]]
