"""Thumbnails: small, kept, of this project's tasks only, and never an error page."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gallery import Gallery, SkySource
from PIL import Image

from ml_backend.errors import FetchError
from ml_backend.pictures.addresses import Wanted
from ml_backend.pictures.cache import PictureCache
from ml_backend.pictures.drawing import PictureMaker
from ml_backend.store.tables import Task


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch)


def _add(gallery: Gallery, image: str, project: int = 1, removed: bool = False) -> int:
    with gallery.store.session() as session:
        session.add(Task(id=5000, project_id=project, image=image, removed=removed))
    return 5000


def test_a_thumbnail_is_a_small_jpeg_that_browsers_keep(gallery: Gallery) -> None:
    task = _add(gallery, "sky://Spiral/1")
    answer = gallery.get(f"explore/thumbnail/{task}")
    picture = Image.open(io.BytesIO(answer.data))
    assert picture.format == "JPEG"
    assert picture.size == (40, 40)
    assert "max-age=86400" in answer.headers["Cache-Control"]
    assert "private" in answer.headers["Cache-Control"]
    again = gallery.get(
        f"explore/thumbnail/{task}", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304


class _Large(SkySource):
    def fetch(self, address: str) -> bytes:
        self.fetched.append(address)
        made = io.BytesIO()
        Image.new("RGB", (1200, 600), (200, 30, 30)).save(made, "PNG")
        return made.getvalue()


def test_a_large_image_is_made_small_once(tmp_path: Path) -> None:
    source = _Large()
    maker = PictureMaker(source, PictureCache(tmp_path, 10**6), 10**7, 10**7)
    drawn = maker.thumbnail(Wanted("any"), 192)
    assert Image.open(io.BytesIO(drawn.data)).size == (192, 96)
    assert maker.thumbnail(Wanted("any"), 192) == drawn
    assert len(source.fetched) == 1
    assert maker.thumbnail(Wanted("any"), 96).key != drawn.key
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:100])
    assert maker.thumbnail(Wanted("any"), 192) == drawn


@pytest.mark.parametrize("side", ["0", "-5", "999999999", "abc", "9" * 40, ""])
def test_sizes_are_bounded(gallery: Gallery, side: str) -> None:
    task = _add(gallery, "sky://Spiral/1")
    answer = gallery.get(f"explore/thumbnail/{task}?side={side}")
    assert answer.status_code == 200
    assert max(Image.open(io.BytesIO(answer.data)).size) <= 384


@pytest.mark.parametrize("address", ["junk://1", "ftp://x/<script>&\x01", "file:///etc/passwd", ""])
def test_what_cannot_be_shown_is_a_drawing_with_the_reason(gallery: Gallery, address: str) -> None:
    task = _add(gallery, address)
    answer = gallery.get(f"explore/thumbnail/{task}")
    assert answer.status_code == 200
    assert answer.mimetype == "image/svg+xml"
    drawing = ElementTree.fromstring(answer.data)
    assert "".join(drawing.itertext()).strip()
    assert not list(drawing.iter("{http://www.w3.org/2000/svg}script"))
    assert "max-age=60" in answer.headers["Cache-Control"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_tasks_of_others_and_removed_ones_are_not_there(gallery: Gallery) -> None:
    task = _add(gallery, "sky://Spiral/1", project=2)
    assert gallery.get(f"explore/thumbnail/{task}").status_code == 404
    assert gallery.http.get(f"/dashboard/2/explore/thumbnail/{task}").status_code == 200
    for odd in (6000, 2**63, 10**40):
        assert gallery.get(f"explore/thumbnail/{odd}").status_code == 404
    with gallery.store.session() as session:
        found = session.get(Task, task)
        assert found is not None
        found.removed = True
    assert gallery.http.get(f"/dashboard/2/explore/thumbnail/{task}").status_code == 404


def test_nobody_sees_thumbnails_without_an_account(gallery: Gallery) -> None:
    task = _add(gallery, "sky://Spiral/1")
    answer = gallery.app.test_client().get(f"/dashboard/1/explore/thumbnail/{task}")
    assert answer.status_code == 302


def test_a_busy_backend_says_so_and_nothing_is_kept(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _add(gallery, "sky://Spiral/1")
    begun, release = threading.Semaphore(0), threading.Event()

    def slow(self: SkySource, address: str) -> bytes:
        begun.release()
        release.wait(20)
        raise FetchError("late")

    monkeypatch.setattr(SkySource, "fetch", slow)
    path = f"/dashboard/1/explore/thumbnail/{task}"
    places = gallery.store.settings.max_picture_requests // 2
    clients = [gallery.app.test_client() for _ in range(places)]
    for client in clients:
        client.post("/dashboard/login", data={"name": "bob", "password": "long enough"})
    threads = [threading.Thread(target=client.get, args=(path,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        assert all(begun.acquire(timeout=10) for _ in range(places))
        monkeypatch.setattr("ml_backend.dashboard.thumbnails.WAIT_SECONDS", 0.01)
        answer = gallery.http.get(path)
        assert answer.status_code == 503
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Retry-After"] == "2"
    finally:
        release.set()
        for thread in threads:
            thread.join(20)
    assert gallery.http.get(path).status_code == 200
