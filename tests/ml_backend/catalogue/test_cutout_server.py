"""A cut-out server that behaves as survey servers do, badly too."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from http_stand_in import Call, Reply
from PIL import Image
from sky import SCALE, stamp

from ml_backend.bulk.items import SourceError
from ml_backend.catalogue import cutout_server
from ml_backend.catalogue.cutout_address import Template, check_host
from ml_backend.catalogue.cutout_server import CutoutServer, Pace, ServerUnavailable
from ml_backend.catalogue.positions import Position
from ml_backend.errors import FetchError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.settings import load_settings

HERE = Position(150, 2)
QUERY = "/cutout.fits?ra={ra}&dec={dec}&pixscale={pixscale}&bands={bands}&size={size}"
FITS = {"Content-Type": "application/fits"}


def survey(call: Call) -> Reply:
    """Answer as the cut-out service of the Legacy Surveys does."""
    asked = {key: value[0] for key, value in parse_qs(urlsplit(call.path).query).items()}
    ra, dec = float(asked["ra"]), float(asked["dec"])
    data = stamp(ra, dec, int(asked["size"]), float(asked["pixscale"]), asked["bands"])
    return Reply(200, data, FITS)


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server_for(stand_in: Any, clock: Clock, tmp_path: Path, monkeypatch: Any) -> Any:
    monkeypatch.chdir(tmp_path)  # away from any .env

    def make(handler: Any = survey, query: str = QUERY, **changes: Any) -> CutoutServer:
        stand_in.handler = in_turn(handler)
        hosts = changes.pop("image_hosts", (f"127.0.0.1:{stand_in.port}",))
        settings = load_settings(image_hosts=hosts, image_timeout=2, **changes)
        template = Template(stand_in.url + query, 64, SCALE, "grz")
        fetcher = ImageFetcher(settings, LabelStudioClient("http://label-studio.invalid", ""))
        return CutoutServer(template, fetcher, Pace(1.0, clock, clock.sleep))

    return make


def in_turn(*replies: Any) -> Any:
    """Answer with each in turn, the last one for ever."""
    left = list(replies)

    def answer(call: Call) -> Reply:
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply(call) if callable(reply) else reply

    return answer


def test_a_cutout_is_fetched_as_the_template_says(server_for: Any, stand_in: Any) -> None:
    data, address = server_for().cut(HERE, "a")
    assert data == stamp(150, 2)
    path = "/cutout.fits?ra=150.000000&dec=2.000000&pixscale=0.25&bands=grz&size=64"
    assert [call.path for call in stand_in.calls] == [path]
    assert address == stand_in.url + path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://host/c?ra={ra}", "needs {ra} and {dec}"),
        ("https://host/c?ra={ra}&dec={dec}&x={password}", "names {password}"),
        ("https://host/c?ra={ra.__class__}&dec={dec}", "names {ra.__class__}"),
        ("https://host/c?ra={ra!r}&dec={dec}", "nothing else in the braces"),
        ("https://host/c?ra={ra:>1000000000}&dec={dec}", "nothing else in the braces"),
        ("https://host/c?ra={ra&dec={dec}", "cannot be read"),
        ("https://{id}.host/c?ra={ra}&dec={dec}", "without braces"),
        ("file:///etc/{ra}{dec}", "must begin with http"),
        ("ftp://host/{ra}/{dec}", "must begin with http"),
    ],
)
def test_templates_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said.replace("{", r"\{").replace("}", r"\}")):
        Template(text, 64, SCALE, "grz")


def test_ids_in_addresses_are_quoted() -> None:
    template = Template("https://host/{id}?ra={ra}&dec={dec}", 64, SCALE, "")
    assert template.address(HERE, "../a b?&#").startswith("https://host/..%2Fa%20b%3F%26%23?ra=150")
    assert template.survey == "host"
    layered = Template("https://host/c?ra={ra}&dec={dec}&layer=ls-dr10", 64, SCALE, "")
    assert layered.survey == "ls-dr10"


def test_only_allowed_hosts_are_asked(server_for: Any, stand_in: Any) -> None:
    server = server_for(image_hosts=())
    with pytest.raises(FetchError, match="GALAXYLOOP_IMAGE_HOSTS"):
        server.cut(HERE, "a")
    assert not stand_in.calls
    template = Template(stand_in.url + QUERY, 64, SCALE, "grz")
    with pytest.raises(SourceError, match=f"set GALAXYLOOP_IMAGE_HOSTS=127.0.0.1:{stand_in.port}"):
        check_host(template, load_settings())
    check_host(template, load_settings(image_hosts=(f"127.0.0.1:{stand_in.port}",)))


def test_redirects_are_followed_to_allowed_hosts_alone(
    server_for: Any, stand_in: Any, second_server: Any
) -> None:
    target = QUERY.format(ra=150, dec=2, pixscale=SCALE, bands="grz", size=64)
    moved = Reply(302, b"", {"Location": f"/moved{target}"})
    assert server_for(in_turn(moved, survey)).cut(HERE, "a")[0] == stamp(150, 2)
    second_server.handler = survey
    away = Reply(302, b"", {"Location": second_server.url + "/cutout.fits"})
    with pytest.raises(FetchError, match="may not be fetched from"):
        server_for(away).cut(HERE, "a")
    assert not second_server.calls
    with pytest.raises(FetchError, match="redirects without end"):
        server_for(Reply(302, b"", {"Location": "/again"})).cut(HERE, "a")


def test_a_busy_server_is_left_alone_as_long_as_it_says(server_for: Any, clock: Clock) -> None:
    busy = Reply(429, b"slow down", {"Retry-After": "7"})
    assert server_for(in_turn(busy, busy, survey)).cut(HERE, "a")
    assert clock.slept == [7.0, 7.0]


def test_a_date_of_return_is_understood(server_for: Any, clock: Clock) -> None:
    later = Reply(503, b"", {"Retry-After": formatdate(time.time() + 30, usegmt=True)})
    assert server_for(in_turn(later, survey)).cut(HERE, "a")
    assert clock.slept == [pytest.approx(29.5, abs=1.5)]
    odd = Reply(503, b"", {"Retry-After": "tomorrow"})
    assert server_for(in_turn(odd, survey)).cut(HERE, "a")
    assert clock.slept[1] <= 1


def test_a_server_that_wants_an_hour_ends_the_run(server_for: Any, clock: Clock) -> None:
    busy = Reply(429, b"", {"Retry-After": "3600"})
    with pytest.raises(ServerUnavailable, match="left alone for 3,600 s"):
        server_for(busy).cut(HERE, "a")
    assert clock.slept == []


def test_failures_that_may_pass_are_tried_again(
    server_for: Any, stand_in: Any, clock: Clock
) -> None:
    whole = stamp(150, 2)
    broken = [
        Reply(500, b"oops"),
        Reply(200, whole[: len(whole) // 2], FITS, claimed=len(whole)),
        Reply(200, whole[: len(whole) // 2], FITS),
    ]
    assert server_for(in_turn(*broken, survey)).cut(HERE, "a")[0] == whole
    assert clock.slept == [1.0, 2.0, 4.0]
    stand_in.calls.clear()
    with pytest.raises(FetchError, match="answered 500"):
        server_for(Reply(500, b"oops")).cut(HERE, "a")
    assert len(stand_in.calls) == 4


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(404, b"none"), "answered 404"),
        (Reply(403, b"no"), "answered 403"),
        (Reply(200, b"<html>login</html>", {"Content-Type": "text/html"}), "web page"),
    ],
)
def test_other_failures_are_not(
    server_for: Any, stand_in: Any, clock: Clock, reply: Reply, said: str
) -> None:
    with pytest.raises(FetchError, match=said):
        server_for(reply).cut(HERE, "a")
    assert len(stand_in.calls) == 1
    assert clock.slept == []


def test_huge_answers_are_cut_off(server_for: Any, stand_in: Any) -> None:
    whole = stamp(150, 2)
    server = server_for(image_max_bytes=10_000)
    with pytest.raises(FetchError, match="larger than 10000 bytes"):
        server.cut(HERE, "a")
    claims = Reply(200, whole, FITS, claimed=10**12)
    with pytest.raises(FetchError, match="larger than"):
        server_for(claims).cut(HERE, "a")
    assert len(stand_in.calls) == 2, "they would be as large again"


def test_slow_answers_are_given_up(server_for: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(cutout_server, "ATTEMPTS", 1)
    slow = Reply(200, b"", FITS, before=lambda: time.sleep(3))
    with pytest.raises(FetchError, match="did not arrive within 2 s"):
        server_for(slow).cut(HERE, "a")


def test_blank_and_foreign_places_are_refused(server_for: Any, tmp_path: Path) -> None:
    from astropy.io import fits

    def blank(call: Call) -> Reply:
        fits.PrimaryHDU(np.zeros((3, 64, 64), np.float32)).writeto(tmp_path / "b.fits")
        return Reply(200, (tmp_path / "b.fits").read_bytes(), FITS)

    with pytest.raises(FetchError, match="too little there: 0 %"):
        server_for(blank).cut(HERE, "a")
    with pytest.raises(FetchError, match="sent another place"):
        server_for(Reply(200, stamp(151, 2), FITS)).cut(HERE, "a")


def test_pictures_are_taken_too_but_no_blank_ones(server_for: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    Image.new("RGB", (64, 64), (32, 32, 32)).save(tmp_path / "b.png")
    picture, blank = (Reply(200, (tmp_path / f"{n}.png").read_bytes()) for n in "ab")
    assert server_for(picture).cut(HERE, "a")
    with pytest.raises(FetchError, match="too little there"):
        server_for(blank).cut(HERE, "a")


def test_a_dead_server_ends_the_run(server_for: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(cutout_server, "ATTEMPTS", 1)
    server = server_for(Reply(500, b""))
    for number in range(19):
        with pytest.raises(FetchError):
            server.cut(HERE, str(number))
    with pytest.raises(ServerUnavailable, match="20 galaxies in a row"):
        server.cut(HERE, "last")


def test_requests_are_paced(server_for: Any, clock: Clock) -> None:
    server = server_for()
    for number in range(4):
        server.cut(HERE, str(number))
    assert clock.slept == [1.0, 1.0, 1.0]


def test_the_pace_holds_for_all_threads() -> None:
    pace, passed = Pace(50.0), []

    def run() -> None:
        for _ in range(3):
            pace.wait()
            passed.append(time.monotonic())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed.sort()
    assert passed[-1] - passed[0] >= 11 * 0.02 - 0.01


def test_who_waits_gives_up_when_the_import_ends() -> None:
    pace, ended = Pace(1000.0), []

    def run() -> None:
        try:
            pace.wait()
        except ServerUnavailable:
            ended.append(time.monotonic())

    pace.pause(300)
    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.05)
    pace.stop()
    thread.join(10)
    assert len(ended) == 1
