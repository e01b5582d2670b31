"""``/pictures``: what browsers get, and what nobody gets."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from models.images import draw, read_image

LOCAL = "/data/local-files/?d="


def galaxy(factor: float = 1.0) -> np.ndarray:
    rows, columns = np.indices((40, 50))
    blob = 100 * np.exp(-((rows - 20) ** 2 + (columns - 15) ** 2) / 50)
    return (factor * blob + np.random.default_rng(1).normal(0, 1, blob.shape)).astype(np.float32)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder that may be read, with a cube and a file of two extensions."""
    folder = tmp_path / "images"
    folder.mkdir()
    cube = fits.PrimaryHDU(np.stack([galaxy(1), galaxy(2), galaxy(3)]))
    cube.header["BANDS"] = "grz"
    cube.writeto(folder / "cube.fits")
    two = [fits.ImageHDU(galaxy(1), name="A"), fits.ImageHDU(-galaxy(1), name="B")]
    fits.HDUList([fits.PrimaryHDU(), *two]).writeto(folder / "two.fits")
    return folder


@pytest.fixture
def served(make_backend: Callable[..., Any], images: Path) -> Any:
    """A backend that asks for a password and may read that folder."""
    return make_backend(basic_auth_user="studio", basic_auth_pass="secret", image_folders=(images,))


def path_of(backend: Any, source: str, *arguments: Any, **options: Any) -> str:
    address = backend.store.picture_addresses().address(source, *arguments, **options)
    assert address.startswith(backend.settings.browser_url)
    return address.removeprefix(backend.settings.browser_url)


def pixels(answer: Any) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.data)))


@pytest.mark.parametrize(
    ("look", "band"),
    [("lupton", None), ("asinh", None), ("zscale", None), ("zscale", "z"), ("asinh", "g")],
)
def test_browsers_get_pictures_without_a_password(
    served: Any, images: Path, look: str, band: str | None
) -> None:
    path = path_of(served, f"{LOCAL}cube.fits", look, band)
    answer = served.client.get(path, headers={"Origin": "http://studio.example"})
    expected = draw(read_image((images / "cube.fits").read_bytes()), look, band)
    np.testing.assert_array_equal(pixels(answer), expected)
    assert answer.mimetype == "image/png"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age" in answer.headers["Cache-Control"]
    again = served.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert served.client.head(path).status_code == 200


@pytest.mark.parametrize("look", ["restored", "uncertainty"])
def test_restored_images_are_drawn_and_served_as_fits(
    served: Any, images: Path, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(served, f"{LOCAL}cube.fits", look)
    shown = pixels(served.client.get(path))
    image = read_image((images / "cube.fits").read_bytes())
    assert shown.shape == (40, 50, 3)
    if look == "restored":
        # Drawn with the stretch of the original: as bright, but smoother.
        before = draw(image, "lupton").astype(float)
        assert abs(shown[:, 35:].mean() - before[:, 35:].mean()) < 5
        assert shown[:, 35:].std() < before[:, 35:].std()
    file = served.client.get(path.removesuffix(".png") + ".fits")
    assert file.status_code == 200
    assert file.mimetype == "application/fits"
    assert "restored.fits" in file.headers["Content-Disposition"]
    assert file.headers["Access-Control-Allow-Origin"] == "*"
    with fits.open(io.BytesIO(file.data)) as hdus:
        assert hdus[0].data.shape == hdus["UNCERT"].data.shape == (3, 40, 50)
        assert np.isfinite(hdus[0].data).all()
    # Both are kept.
    monkeypatch.setattr("models.restored_files.restored_image", None)
    np.testing.assert_array_equal(pixels(served.client.get(path)), shown)
    assert served.client.get(path.removesuffix(".png") + ".fits").data == file.data
    etag = {"If-None-Match": file.headers["ETag"]}
    assert served.client.get(path.removesuffix(".png") + ".fits", headers=etag).status_code == 304
    assert served.client.get(path, headers=etag).status_code == 200


def test_a_picture_of_the_file_is_no_permission_for_its_values(served: Any) -> None:
    for look in ("lupton", "zscale"):
        path = path_of(served, f"{LOCAL}cube.fits", look).removesuffix(".png") + ".fits"
        assert served.client.get(path).status_code == 404


def test_what_is_too_large_is_not_restored(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.restored_files.LARGEST", 100)
    for end in (".png", ".fits"):
        path = path_of(served, f"{LOCAL}cube.fits", "restored").removesuffix(".png") + end
        answer = served.client.get(path)
        assert answer.status_code == 422
        assert "at most 100 are restored" in answer.json["why"]


@pytest.mark.parametrize("token", ["a.b", "a", "..", "eyJzIjogImEifQ.x", "%00", "a" * 9000])
def test_no_fits_file_without_a_signature(served: Any, token: str) -> None:
    assert served.client.get(f"/pictures/{token}.fits").status_code in (401, 404)


def test_the_password_still_guards_everything_else(served: Any) -> None:
    for path in ("/versions", "/pictures", "/pictures/", "/pictures/x/y.png", "/pictures/x.gif"):
        assert served.client.get(path).status_code == 401, path


def test_extensions_are_chosen(served: Any) -> None:
    one, two = (
        pixels(served.client.get(path_of(served, f"{LOCAL}two.fits", "zscale", extension=name)))
        for name in ("A", "B")
    )
    assert (one != two).any()
    answer = served.client.get(path_of(served, f"{LOCAL}two.fits", extension="C"))
    assert answer.status_code == 422
    assert "no extension 'C'" in answer.json["why"]


def test_pictures_are_drawn_once_and_anew_when_the_file_changes(
    served: Any, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(served, f"{LOCAL}cube.fits")
    first = pixels(served.client.get(path))
    monkeypatch.setattr("models.images.draw", None)
    np.testing.assert_array_equal(pixels(served.client.get(path)), first)
    monkeypatch.undo()
    fits.PrimaryHDU(galaxy(5)).writeto(images / "cube.fits", overwrite=True)
    os.utime(images / "cube.fits", (1, 1))
    assert (pixels(served.client.get(path)) != first).any()
    (images / "cube.fits").unlink()
    assert served.client.get(path).status_code == 502


@pytest.mark.parametrize("token", ["a.b", "a", "..", "eyJzIjogImEifQ.x", "%00", "a" * 9000])
def test_what_was_not_signed_is_not_there(served: Any, token: str) -> None:
    answer = served.client.get(f"/pictures/{token}.png")
    assert answer.status_code in (401, 404)
    assert answer.json["what_to_do"]


def test_a_signature_of_another_backend_opens_nothing(
    served: Any, make_backend: Callable[..., Any]
) -> None:
    other = make_backend()
    assert other.store.picture_secret() != served.store.picture_secret()
    # What people see in Label Studio's webhooks must not sign pictures.
    assert served.store.picture_secret() != served.store.webhook_secret()
    answer = served.client.get(path_of(other, f"{LOCAL}cube.fits"))
    assert answer.status_code == 404
    assert "not signed" in answer.json["why"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/data/local-files/?d=../secret.fits", "leads out"),
        ("/data/local-files/?d=/etc/passwd", "."),
        ("/data/local-files/?d=outside.fits", "link out"),
        ("file:///etc/passwd", "file: addresses"),
        ("http://169.254.169.254/latest/meta-data", "GALAXYLOOP_IMAGE_HOSTS"),
        ("http://evil.example/a.fits", "GALAXYLOOP_IMAGE_HOSTS"),
        ("/api/users/", "no address"),
        ("gopher://x", "gopher"),
        ("\0", "control character"),
        ("", "names no image"),
    ],
)
def test_signed_sources_are_fetched_from_allowed_places_only(
    served: Any, images: Path, tmp_path: Path, source: str, said: str
) -> None:
    (tmp_path / "secret.fits").write_bytes((images / "cube.fits").read_bytes())
    (images / "outside.fits").symlink_to(tmp_path / "secret.fits")
    answer = served.client.get(path_of(served, source))
    assert answer.status_code == 502
    assert said in answer.json["why"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<html>log in</html>", "web page"),
        (b"version https://git-lfs", "git-LFS"),
        (b"SIMPLE  =                    T".ljust(2880), "FITS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
    ],
)
def test_broken_files_are_named(served: Any, images: Path, content: bytes, said: str) -> None:
    (images / "broken.fits").write_bytes(content)
    answer = served.client.get(path_of(served, f"{LOCAL}broken.fits"))
    assert answer.status_code == 422
    assert said in answer.json["why"]


def test_an_unknown_band_is_named(served: Any) -> None:
    answer = served.client.get(path_of(served, f"{LOCAL}cube.fits", "zscale", "q"))
    assert answer.status_code == 422
    assert "has no band 'q'; it has g, r, z" in answer.json["why"]


def test_limits_hold(make_backend: Callable[..., Any], images: Path) -> None:
    small = make_backend(image_folders=(images,), image_max_pixels=100)
    assert "at most 100" in small.client.get(path_of(small, f"{LOCAL}cube.fits")).json["why"]
    short = make_backend(image_folders=(images,), image_max_bytes=100)
    assert "larger than 100" in short.client.get(path_of(short, f"{LOCAL}cube.fits")).json["why"]


def test_addresses_end_where_they_should(make_backend: Callable[..., Any], images: Path) -> None:
    backend = make_backend(image_folders=(images,), picture_days=1e-9)
    answer = backend.client.get(path_of(backend, f"{LOCAL}cube.fits"))
    assert answer.status_code == 410
    assert "GALAXYLOOP_PICTURE_DAYS" in answer.json["what_to_do"]


def test_too_many_at_once_are_sent_away(
    make_backend: Callable[..., Any], stand_in: Any, reply: Any
) -> None:
    backend = make_backend(label_studio_url=stand_in.url, max_picture_requests=1)
    reached, go_on = Event(), Event()

    def slow(call: Any) -> Any:
        reached.set()
        go_on.wait(20)
        return reply(200, b"no image")

    stand_in.handler = slow
    paths = [path_of(backend, f"/data/upload/1/{name}.fits") for name in "ab"]
    first = Thread(target=lambda: backend.app.test_client().get(paths[0]))
    first.start()
    assert reached.wait(20)
    answer = backend.client.get(paths[1])
    go_on.set()
    first.join()
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert backend.client.get(paths[1]).status_code == 422


def test_files_of_label_studio_are_fetched_with_our_token_and_drawn(
    make_backend: Callable[..., Any], stand_in: Any, reply: Any, images: Path
) -> None:
    content = (images / "cube.fits").read_bytes()
    stand_in.handler = lambda call: reply(200, content)
    backend = make_backend(label_studio_url=stand_in.url)
    path = path_of(backend, "/data/upload/1/cube.fits")
    for _ in range(2):
        assert pixels(backend.client.get(path)).shape == (40, 50, 3)
    assert len(stand_in.calls) == 1
    assert stand_in.calls[0].headers["Authorization"]


def test_the_token_stays_out_of_the_log(
    make_backend: Callable[..., Any], images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = make_backend(image_folders=(images,), log_level="DEBUG")
    path = path_of(backend, f"{LOCAL}cube.fits")
    backend.client.get(path)
    written = "".join(capsys.readouterr())
    assert path.removeprefix("/pictures/").split(".")[0] not in written
    assert base64.urlsafe_b64encode(b"cube.fits").decode()[:8] not in written
