"""Hostile and broken image files: each is refused with a sentence that names the fault."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import cube, encoded, fits_bytes, galaxy, picture

from models.images import ImageError, ImageLimits, read_image

MEBIBYTE = 2**20


# --- what is not an image, or broken


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b"<html>502 Bad Gateway</html>", "web page"),
        (b'{"detail": "Not found."}', "JSON"),
        (b"  <Error><Code>AccessDenied</Code></Error>", "text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-LFS"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "AppleDouble"),
        (b"PK\x03\x04....", "ZIP"),
        (b"GIF89a\x01\x00\x01\x00", "GIF"),
        (b"\x93NUMPY\x01\x00", "numpy"),
        (b"\x80\x04\x95pickled", "not an image that is read"),
        (b"\xff\xd8\xff", "JPEG is broken"),
        (b"\x89PNG\r\n\x1a\n", "PNG is broken"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 16 + b"\x10", "no pixels|broken"),
        (b"II*\x00", "TIFF is broken"),
        (b"MM\x00*\xff\xff\xff\xff", "TIFF is broken"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "WEBP is broken"),
        (b"SIMPLE  =                    T", "FITS file"),
        (b"SIMPLE  =                    T".ljust(2880), "FITS file"),
        (b"\x1f\x8b\x08\x00", "gzip file is cut short"),
        (b"\x1f\x8b\xff\xff\x00\x00\x00\x00", "gzip file is broken"),
        (gzip.compress(b"<html>no</html>"), "holds no FITS"),
    ],
)
def test_faults_are_named(data: bytes, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        read_image(data)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_truncated_pictures(name: str) -> None:
    data = encoded(picture(), name)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError, match=f"The {name} is broken or cut short"):
            read_image(data[: int(len(data) * share)])


def test_truncated_deep_files() -> None:
    values = np.random.default_rng(3).integers(0, 65536, (40, 50), dtype=np.uint16)
    png = imagecodecs.png_encode(values)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values)
    for data in (png, buffer.getvalue()):
        with pytest.raises(ImageError, match="broken or cut short"):
            read_image(data[: len(data) // 2])


def test_truncated_fits() -> None:
    data = cube("grz")
    with pytest.raises(ImageError, match="cut short: its header promises"):
        read_image(data[: len(data) // 2])
    packed = gzip.compress(data)
    with pytest.raises(ImageError, match="gzip file is cut short"):
        read_image(packed[: len(packed) // 2])
    tiles = fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(galaxy(200, 200)))
    with pytest.raises(ImageError, match="cut short"):
        read_image(tiles[: len(tiles) * 2 // 3])


def test_fits_without_an_image() -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    with pytest.raises(ImageError, match="no image, only extensions of the kind BinTable"):
        read_image(fits_bytes(fits.PrimaryHDU(), table))
    with pytest.raises(ImageError, match="holds no image"):
        read_image(fits_bytes(fits.PrimaryHDU()))
    with pytest.raises(ImageError, match="holds no image"):
        read_image(fits_bytes(fits.PrimaryHDU(np.arange(100.0))))


def test_fits_that_cannot_be_an_image() -> None:
    with pytest.raises(ImageError, match="no finite value"):
        read_image(fits_bytes(fits.PrimaryHDU(np.full((20, 20), np.nan, dtype=np.float32))))
    half = np.stack([galaxy(), np.full((40, 50), np.nan, dtype=np.float32), galaxy()])
    hdu = fits.PrimaryHDU(half)
    hdu.header["BANDS"] = "grz"
    half_missing = fits_bytes(hdu)
    with pytest.raises(ImageError, match="Band r has no finite value"):
        read_image(half_missing)
    with pytest.raises(ImageError, match="no axis of at most 16"):
        read_image(fits_bytes(fits.PrimaryHDU(np.zeros((20, 20, 20), dtype=np.uint8))))
    with pytest.raises(ImageError, match="has 4 axes"):
        read_image(fits_bytes(fits.PrimaryHDU(np.zeros((2, 2, 20, 20), dtype=np.uint8))))


# --- too large, and bombs: refused on the header, without the memory


def refused_cheaply(data: bytes, sentence: str, limits: ImageLimits | None = None) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=sentence):
            read_image(data, limits)
        assert tracemalloc.get_traced_memory()[1] < 24 * MEBIBYTE
    finally:
        tracemalloc.stop()


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (9_000, 9_000), (2**31 - 1, 1)])
@pytest.mark.parametrize("depth", [8, 16])
def test_huge_png(width: int, height: int, depth: int) -> None:
    refused_cheaply(png_header(width, height, depth), "pixels")


def test_huge_jpeg() -> None:
    data = bytearray(encoded(picture(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
    refused_cheaply(bytes(data), "pixels")


def test_huge_tiff() -> None:
    for dtype in (np.uint8, np.uint16):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.zeros((40, 50), dtype=dtype))
        data = bytearray(buffer.getvalue())
        for tag in (256, 257):
            starts = [data.find(struct.pack("<HHI", tag, kind, 1)) for kind in (3, 4)]
            place = max(starts) + 2
            assert place > 2
            data[place : place + 10] = struct.pack("<HII", 4, 1, 30_000)
        refused_cheaply(bytes(data), "pixels")


def test_huge_fits() -> None:
    data = bytearray(fits_bytes(fits.PrimaryHDU(galaxy())))
    for axis in (1, 2):
        place = data.index(f"NAXIS{axis}  =".encode())
        data[place : place + 30] = f"NAXIS{axis}  = {30_000:20d}".encode()
    refused_cheaply(bytes(data), r"30,000 x 30,000 pixels; at most 64,000,000")


def test_huge_compressed_fits() -> None:
    data = bytearray(fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(galaxy())))
    for axis in (1, 2):
        place = data.index(f"ZNAXIS{axis} =".encode())
        data[place : place + 30] = f"ZNAXIS{axis} = {30_000:20d}".encode()
    refused_cheaply(bytes(data), "pixels")


def test_compressed_fits_with_lying_tiles() -> None:
    data = fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(galaxy(), tile_shape=(10, 10)))
    for old, new, sentence in (
        (b"ZTILE1  =                   10", b"ZTILE1  =                   25", "needs .* tiles"),
        (b"ZTILE1  =                   10", b"ZTILE1  =                    0", "."),
        (b"ZTILE1  =                   10", b"ZTILE1  =           2000000000", "."),
    ):
        assert old in data
        refused_cheaply(data.replace(old, new), sentence)


def test_gzip_bomb_within_a_tile() -> None:
    values = np.zeros((64, 64), dtype=np.int16)
    hdu = fits.CompImageHDU(values, compression_type="GZIP_1", tile_shape=(64, 64))
    data = fits_bytes(fits.PrimaryHDU(), hdu)
    bomb = gzip.compress(b"\0" * (64 * MEBIBYTE), 9)
    with fits.open(io.BytesIO(data), disable_image_compression=True) as file:
        table = file[1]
        columns = fits.ColDefs(
            [fits.Column("COMPRESSED_DATA", "1PB()", array=[np.frombuffer(bomb, dtype=np.uint8)])]
        )
        forged = fits.BinTableHDU.from_columns(columns, header=table.header)
        hostile = fits_bytes(fits.PrimaryHDU(), forged)
    refused_cheaply(hostile, "unpacks beyond its size")


def test_gzip_bomb() -> None:
    limits = ImageLimits(max_bytes=MEBIBYTE)
    bomb = gzip.compress(b"SIMPLE  =" + b"\0" * (100 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE
    refused_cheaply(bomb, "unpacks to more than 4,194,304 bytes", limits)


def test_many_small_gzip_members_count_together() -> None:
    limits = ImageLimits(max_bytes=MEBIBYTE)
    member = gzip.compress(b"\0" * MEBIBYTE)
    refused_cheaply(member * 6, "unpacks to more", limits)


def test_a_file_of_nothing_but_headers() -> None:
    empty = fits_bytes(fits.PrimaryHDU(), fits.ImageHDU())[2880:]
    start = fits_bytes(fits.PrimaryHDU())
    with pytest.raises(ImageError, match="more than the 1000 extensions"):
        read_image(start + empty * 5000)


def test_too_many_bytes_and_bands() -> None:
    with pytest.raises(ImageError, match="has 6,000 bytes; at most 5,000"):
        read_image(b"\xff" * 6_000, ImageLimits(max_bytes=5_000))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((20, 40, 50), np.uint16), photometric="minisblack")
    with pytest.raises(ImageError, match="20 bands; at most 16"):
        read_image(buffer.getvalue())


# --- properties


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["", "JPEG", "PNG", "WEBP", "TIFF", "FITS", "fz"]))
def test_any_bytes_are_read_or_refused_with_a_sentence(noise: bytes, start: str) -> None:
    samples = {"": b"", "FITS": cube("grz"), "fz": fits_bytes(fits.CompImageHDU(galaxy()))}
    sample = samples.get(start) or (encoded(picture(), start) if start not in samples else b"")
    place = len(sample) // 3
    data = sample[:place] + noise + sample[place + len(noise) :]
    try:
        image = read_image(data)
    except ImageError as refusal:
        sentence = str(refusal)
    else:
        sentence = "Read."
        assert np.isfinite(image.pixels).all()
    assert len(sentence) > 4
    assert sentence.endswith(".")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["FITS", "GZIP_1", "RICE_1", "HCOMPRESS_1", "tiff"]))
def test_flipped_bytes_never_escape(seed: int, start: str) -> None:
    rng = np.random.default_rng(seed)
    if start == "FITS":
        data = bytearray(cube("grz"))
    elif start == "tiff":
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, galaxy(), compression="zlib")
        data = bytearray(buffer.getvalue())
    else:
        values = galaxy().astype(np.int16)
        data = bytearray(fits_bytes(fits.CompImageHDU(values, compression_type=start)))
    for place in rng.integers(0, len(data), 12):
        data[place] = rng.integers(0, 256)
    try:
        image = read_image(bytes(data), ImageLimits(max_pixels=1_000_000))
    except ImageError:
        return
    assert np.isfinite(image.pixels).all()
