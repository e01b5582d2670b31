"""Image addresses: what is read, and what is refused."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_backend.errors import FetchError, SettingsError
from ml_backend.labelstudio.addresses import HostRules, is_public, session
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.pictures.addresses import PictureAddresses
from ml_backend.settings import load_settings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
KEY = "0123456789abcdef"


@pytest.fixture
def fetcher_for(stand_in: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)  # away from any .env

    def make(**changes: Any) -> ImageFetcher:
        client = LabelStudioClient(stand_in.url, KEY)
        return ImageFetcher(load_settings(label_studio_url=stand_in.url, **changes), client)

    return make


def refused(fetcher: ImageFetcher, address: Any) -> str:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(address)
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_data_uris(fetcher_for: Any) -> None:
    fetcher = fetcher_for()
    encoded = base64.b64encode(PNG).decode()
    assert fetcher.fetch(f"data:image/png;base64,{encoded}") == PNG
    assert fetcher.fetch(f"data:image/png;base64,{encoded.rstrip('=')}") == PNG
    assert fetcher.fetch(f"DATA:;base64,{quote(encoded)}") == PNG
    assert fetcher.fetch(f"data:,{quote(PNG)}") == PNG


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,@@@", "base64"),
        ("data:image/png;base64,A", "base64"),
        ("data:image/png;base64," + "A" * 3000, "larger"),
        ("data:,%FF" + "x" * 5000, "larger"),
        ("", "no image"),
        ("   ", "no image"),
        (None, "no image"),
        (["http://x/y.png"], "no image"),
        ("file:///etc/passwd", "file: addresses"),
        ("FILE:///etc/passwd", "file: addresses"),
        ("ftp://h/x.png", "ftp: addresses"),
        ("s3://bucket/x.png", "pre-signed"),
        ("gopher://h/x", "gopher"),
        ("/etc/passwd", "no address"),
        ("/api/users/", "no address"),
        ("galaxies/1.png", "no address"),
        ("//evil.example/data/upload/1/x.png", "no address"),
        ("/data/upload/../../api/users/", "'..'"),
        ("/data/upload/%2e%2e/%2e%2e/api/users/", "'..'"),
        ("/data/upload/%252e%252e/api/users/", "'..'"),
        ("http://evil.example/x.png", "GALAXYLOOP_IMAGE_HOSTS"),
        ("http://user:pass@evil.example/x.png", "user name"),
        ("http://good.example\\@evil.example/x.png", "backslash"),
        ("http://good.example/\nx", "control"),
        ("http://[::1/x", "no valid address"),
        ("http://h:99999/x", "no valid address"),
        ("http://127.0.0.1:1/x.png", "GALAXYLOOP_IMAGE_HOSTS"),
        ("http://169.254.169.254/latest/meta-data/", "GALAXYLOOP_IMAGE_HOSTS"),
    ],
)
def test_what_is_refused_without_asking_anyone(
    fetcher_for: Any, stand_in: Any, address: Any, said: str
) -> None:
    message = refused(fetcher_for(image_max_bytes=1000), address)
    assert said in message
    assert "pass@" not in message
    assert stand_in.calls == []


def test_label_studios_own_files_are_asked_for_with_the_token(
    fetcher_for: Any, stand_in: Any, reply: Any
) -> None:
    stand_in.handler = lambda call: reply(content=PNG)
    fetcher = fetcher_for()
    assert fetcher.fetch("/data/upload/3/a%20b.png") == PNG
    assert fetcher.fetch(f"{stand_in.url}/data/local-files/?d=a/b.png") == PNG
    # Label Studio writes its own name of itself into addresses.
    assert fetcher.fetch("http://localhost:9999/data/local-files/?d=a/b.png") == PNG
    assert fetcher.fetch("/data/upload/3/a b.png") == PNG
    assert [(call.path, call.headers.get("Authorization")) for call in stand_in.calls] == [
        ("/data/upload/3/a%20b.png", f"Token {KEY}"),
        ("/data/local-files/?d=a/b.png", f"Token {KEY}"),
        ("/data/local-files/?d=a/b.png", f"Token {KEY}"),
        ("/data/upload/3/a%20b.png", f"Token {KEY}"),
    ]


def test_the_token_goes_nowhere_else(
    fetcher_for: Any, stand_in: Any, second_server: Any, reply: Any
) -> None:
    second_server.handler = lambda call: reply(content=PNG)
    stand_in.handler = lambda call: reply(
        302, b"", {"Location": f"{second_server.url}/data/upload/1/x.png"}
    )
    fetcher = fetcher_for(image_hosts=f"127.0.0.1:{second_server.port}")
    assert fetcher.fetch("/data/upload/1/x.png") == PNG
    assert fetcher.fetch(f"{second_server.url}/data/upload/1/x.png") == PNG
    assert all("Authorization" not in call.headers for call in second_server.calls)
    stand_in.handler = lambda call: reply(content=PNG)
    fetcher.fetch(f"{stand_in.url}/api/users/x.png")
    assert "Authorization" not in stand_in.calls[-1].headers


def test_redirects_lead_only_to_allowed_hosts(
    fetcher_for: Any, stand_in: Any, second_server: Any, reply: Any
) -> None:
    fetcher = fetcher_for()
    for target in (
        f"{second_server.url}/secret",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        f"//127.0.0.1:{second_server.port}/x",
        "http://[oops",
    ):
        stand_in.handler = lambda call, to=target: reply(302, b"", {"Location": to})
        refused(fetcher, "/data/upload/1/x.png")
    assert second_server.calls == []
    stand_in.handler = lambda call: reply(302, b"", {"Location": "/data/upload/1/x.png"})
    assert "without end" in refused(fetcher, "/data/upload/1/x.png")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_error_pages_are_not_returned(
    fetcher_for: Any, stand_in: Any, reply: Any, status: int
) -> None:
    stand_in.handler = lambda call: reply(status, b"internal secret")
    message = refused(fetcher_for(), "/data/local-files/?d=x.png&token=abc")
    assert str(status) in message
    assert "internal secret" not in message
    assert "abc" not in message


def test_pages_and_empty_files_are_no_images(fetcher_for: Any, stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(200, b"<html>", {"Content-Type": "text/html"})
    assert "web page" in refused(fetcher_for(), "/data/upload/1/x.png")
    stand_in.handler = lambda call: reply(200, b"")
    assert "0 bytes" in refused(fetcher_for(), "/data/upload/1/x.png")


def test_size_is_limited_whether_announced_or_not(
    fetcher_for: Any, stand_in: Any, reply: Any
) -> None:
    fetcher = fetcher_for(image_max_bytes=300)
    stand_in.handler = lambda call: reply(content=bytes(300))
    assert len(fetcher.fetch("/data/upload/1/x.png")) == 300
    stand_in.handler = lambda call: reply(content=bytes(301))
    assert "larger than 300" in refused(fetcher, "/data/upload/1/x.png")
    # A small file that unpacks to a large one.
    import gzip

    packed = gzip.compress(bytes(100_000))
    assert len(packed) < 300
    stand_in.handler = lambda call: reply(200, packed, {"Content-Encoding": "gzip"})
    assert "larger than 300" in refused(fetcher, "/data/upload/1/x.png")


def test_a_broken_off_file_is_refused(fetcher_for: Any, stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(content=PNG, claimed=5000)
    assert "cannot be read" in refused(fetcher_for(), "/data/upload/1/x.png")


def test_slow_servers_are_given_up(fetcher_for: Any, stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(content=PNG, before=lambda: time.sleep(10))
    started = time.monotonic()
    assert "within 0.2 s" in refused(fetcher_for(image_timeout=0.2), "/data/upload/1/x.png")
    assert time.monotonic() - started < 5


def test_a_dripping_server_is_given_up(fetcher_for: Any) -> None:
    import threading

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
            for _ in range(100):
                try:
                    connection.sendall(b"x" * 70_000)
                except OSError:
                    return
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    fetcher = fetcher_for(image_timeout=0.35, image_hosts=f"127.0.0.1:{port}")
    started = time.monotonic()
    assert "did not arrive" in refused(fetcher, f"http://127.0.0.1:{port}/x.png")
    assert time.monotonic() - started < 1.5
    listener.close()


def test_hosts_that_are_down_are_named(fetcher_for: Any) -> None:
    fetcher = fetcher_for(image_hosts="127.0.0.1:9")
    assert "cannot be read" in refused(fetcher, "http://127.0.0.1:9/x.png?signature=s3cret")
    assert "s3cret" not in refused(fetcher, "http://127.0.0.1:9/x.png?signature=s3cret")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "survey"
    (root / "north").mkdir(parents=True)
    (root / "north" / "a b.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "out").symlink_to(tmp_path)
    (root / "inner.png").symlink_to(root / "north" / "a b.png")
    os.mkfifo(root / "pipe.png")
    return root


def test_local_files_are_read_from_allowed_folders(
    fetcher_for: Any, folder: Path, stand_in: Any
) -> None:
    fetcher = fetcher_for(image_folders=str(folder))
    for named in ("north/a%20b.png", "/north/a%20b.png", "survey/north/a+b.png", "inner.png"):
        assert fetcher.fetch(f"/data/local-files/?d={named}") == PNG
    assert fetcher.fetch("http://any-name:8080/data/local-files/?d=north/a%20b.png") == PNG
    assert stand_in.calls == []


@pytest.mark.parametrize(
    "named",
    [
        "link.png",
        "out/secret.png",
        "../secret.png",
        "north/../../secret.png",
        "%2e%2e/secret.png",
        "%2e%2e%2fsecret.png",
        "north%00.png",
        "pipe.png",
        "north",
        "",
        ".",
        "/",
        "//",
        "a" * 5000,
    ],
)
def test_nothing_leads_out_of_the_folders(
    fetcher_for: Any, folder: Path, stand_in: Any, reply: Any, named: str
) -> None:
    stand_in.handler = lambda call: reply(404, b"")
    fetcher = fetcher_for(image_folders=str(folder))
    message = refused(fetcher, f"/data/local-files/?d={named}")
    assert "secret'" not in message
    # What lies in none of the folders is Label Studio's to find; nothing else leaves us.
    assert all("aaaa" in call.path for call in stand_in.calls)


def test_absolute_names_stay_inside(
    fetcher_for: Any, folder: Path, stand_in: Any, reply: Any
) -> None:
    stand_in.handler = lambda call: reply(404, b"")
    fetcher = fetcher_for(image_folders=str(folder))
    # Read as relative to the folder, where there is no such file: Label Studio is asked instead.
    refused(fetcher, f"/data/local-files/?d={folder.parent}/secret.png")
    assert len(stand_in.calls) == 1


def test_large_local_files_are_refused(fetcher_for: Any, folder: Path) -> None:
    fetcher = fetcher_for(image_folders=str(folder), image_max_bytes=10)
    assert "larger than 10" in refused(fetcher, "/data/local-files/?d=north/a%20b.png")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("not an address", False),
    ],
)
def test_private_and_reserved_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("address", "permission"),
    [
        ("http://studio:8080/x", "named"),
        ("http://STUDIO:8080/x", "named"),
        ("http://studio/x", None),
        ("https://images.example/x", "named"),
        ("http://images.example./x", "named"),
        ("http://images.example:8000/x", None),
        ("http://files.example:8000/x", "named"),
        ("http://files.example/x", None),
        ("https://a.survey.example/x", "public"),
        ("https://survey.example/x", None),
        ("https://evilsurvey.example/x", None),
        ("https://a.survey.example:22/x", None),
        ("https://images.example.evil/x", None),
    ],
)
def test_host_rules(address: str, permission: str | None) -> None:
    rules = HostRules(
        "http://studio:8080",
        ["images.example", "https://files.example:8000/", "*.Survey.example", ""],
    )
    assert rules.permission(urlsplit(address)) == permission


def test_patterns_never_reach_private_networks_whatever_the_name_says(
    fetcher_for: Any, second_server: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public-looking name that leads to this machine, the second time it is asked."""
    second_server.handler = lambda call: reply(content=PNG)
    real = socket.getaddrinfo

    def rebound(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "rebound.survey.example":
            return real("127.0.0.1", second_server.port, *args, **kwargs)
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    monkeypatch.setenv("http_proxy", "")
    message = refused(fetcher_for(image_hosts="*"), "http://rebound.survey.example/x.png")
    assert "private or reserved" in message
    assert second_server.calls == []
    named = fetcher_for(image_hosts="rebound.survey.example")
    monkeypatch.setenv("no_proxy", "rebound.survey.example")
    assert named.fetch("http://rebound.survey.example/x.png") == PNG


def test_guarded_sessions_use_no_proxy() -> None:
    assert session("public").trust_env is False
    assert session("named").trust_env is True


@pytest.mark.parametrize("pattern", ["host:port", "[::1", "host:99999"])
def test_patterns_that_are_no_hosts_are_named(pattern: str) -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_IMAGE_HOSTS"):
        HostRules("http://studio", [pattern])


ODD = st.text(st.sampled_from("ab0:/\\?#[]@%.\u2100\x00 é&=d,;"), max_size=20)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prefix=st.sampled_from(
        ["", "data:", "http://", "https://", "/data/upload/", "/data/local-files/?d=", "//"]
    ),
    rest=ODD,
)
def test_no_address_gets_past_the_rules(
    fetcher_for: Any, folder: Path, stand_in: Any, prefix: str, rest: str
) -> None:
    fetcher = fetcher_for(image_folders=str(folder))
    data = None
    with contextlib.suppress(FetchError):
        data = fetcher.fetch(prefix + rest)
    if data is not None:
        assert (prefix + rest).startswith("data:")
        assert len(data) <= len(rest.encode())


def test_of_our_pictures_the_file_is_read(stand_in: Any, tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(PNG)
    pictures = PictureAddresses("secret", "http://backend:9090")
    chosen = load_settings(_env_file=None, label_studio_url=stand_in.url, image_folders=(tmp_path,))
    fetcher = ImageFetcher(chosen, LabelStudioClient(stand_in.url, KEY), pictures)
    source = "/data/local-files/?d=a.fits"
    for extension in (None, 3):
        assert fetcher.fetch(pictures.address(source, extension=extension)) == PNG
    assert "not signed" in refused(fetcher, "http://backend:9090/pictures/abc.def.png")
    assert "IMAGE_HOSTS" in refused(fetcher, "http://other/pictures/abc.def.png")
    outside = pictures.address("http://evil.example/x.png")
    assert "GALAXYLOOP_IMAGE_HOSTS" in refused(fetcher, outside)
    assert stand_in.calls == []


def test_stamps_tell_changed_files(fetcher_for: Any, tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(PNG)
    fetcher = fetcher_for(image_folders=(tmp_path,))
    address = "/data/local-files/?d=a.fits"
    before = fetcher.stamp(address)
    assert before == fetcher.stamp(address) != ""
    (tmp_path / "a.fits").write_bytes(PNG + b"more")
    assert fetcher.stamp(address) != before
    for other in ("/data/local-files/?d=b.fits", "http://h/a.fits", "data:,x", "", "a"):
        assert fetcher.stamp(other) == ""
    with pytest.raises(FetchError, match="leads out"):
        fetcher.stamp("/data/local-files/?d=../x")
