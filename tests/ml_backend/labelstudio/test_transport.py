"""Calls to a Label Studio that is down, slow, refuses, or answers with half an answer."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from typing import Any

import pytest

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.transport import Transport

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims: Any) -> str:
    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2ln"


PERSONAL = jwt(token_type="refresh", exp=9_999_999_999)


class Waits(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


def failure(transport: Transport, method: str = "GET", **kwargs: Any) -> LabelStudioError:
    with pytest.raises(LabelStudioError) as caught:
        transport.call(method, "/api/x", **kwargs)
    assert LEGACY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("", "none"),
        (LEGACY, "legacy"),
        (PERSONAL, "personal"),
        (jwt(token_type="access"), "access"),
        ("a.b.c", "legacy"),
        ("..", "legacy"),
        ("x.W10.y", "legacy"),
    ],
)
def test_kinds_of_token(key: str, kind: str) -> None:
    assert Transport("http://x", key).token_kind == kind


def test_a_legacy_token_is_sent_as_it_is(stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(content={"ok": 1})
    assert Transport(stand_in.url + "/", LEGACY).call("GET", "/api/x", params={"a": 1}) == {"ok": 1}
    assert stand_in.calls[0].path == "/api/x?a=1"
    assert stand_in.calls[0].headers["Authorization"] == f"Token {LEGACY}"


def test_netrc_does_not_replace_the_token(
    stand_in: Any, reply: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    stand_in.handler = lambda call: reply(content={})
    Transport(stand_in.url, LEGACY).call("GET", "/api/x")
    assert stand_in.calls[0].headers["Authorization"] == f"Token {LEGACY}"


def access(number: int, seconds: float = 300) -> str:
    return jwt(token_type="access", exp=int(time.time() + seconds), n=number)


def test_a_personal_token_is_exchanged_and_renewed_when_it_has_ended(
    stand_in: Any, reply: Any
) -> None:
    made = []

    def handler(call: Any) -> Any:
        if call.path == "/api/token/refresh/":
            assert call.json == {"refresh": PERSONAL}
            made.append(access(len(made), seconds=-10 if made else 300))
            return reply(content={"access": made[-1]})
        return reply(content={"seen": call.headers["Authorization"]})

    stand_in.handler = handler
    transport = Transport(stand_in.url, PERSONAL)
    assert {transport.call("GET", "/api/x")["seen"] for _ in range(3)} == {f"Bearer {made[0]}"}
    assert len(made) == 1
    assert transport.authorization() == f"Bearer {made[0]}"


def test_an_access_token_that_ended_early_is_renewed_once(stand_in: Any, reply: Any) -> None:
    tokens = [access(number) for number in range(3)]
    left = iter(tokens)

    def handler(call: Any) -> Any:
        if call.path == "/api/token/refresh/":
            return reply(content={"access": next(left)})
        good = call.headers["Authorization"] == f"Bearer {tokens[1]}"
        return reply(200 if good else 401, {"detail": "token expired"})

    stand_in.handler = handler
    transport = Transport(stand_in.url, PERSONAL)
    assert transport.call("POST", "/api/x", body={}) == {"detail": "token expired"}
    stand_in.handler = lambda call: (
        reply(401, {"detail": "no"})
        if call.path == "/api/x"
        else (reply(content={"access": tokens[2]}))
    )
    assert failure(transport).status == 401
    assert [call.path for call in stand_in.calls[-3:]] == [
        "/api/x",
        "/api/token/refresh/",
        "/api/x",
    ]


def test_many_threads_exchange_the_token_once(stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(
        content={"access": access(1)}, before=lambda: time.sleep(0.05)
    )
    transport = Transport(stand_in.url, PERSONAL)
    threads = [threading.Thread(target=transport.authorization) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [call.path for call in stand_in.calls] == ["/api/token/refresh/"]


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b"{}", b'{"access": 3}', b"[]"])
def test_an_answer_without_an_access_token(stand_in: Any, reply: Any, answer: bytes) -> None:
    stand_in.handler = lambda call: reply(content=answer)
    assert "no access token" in str(failure(Transport(stand_in.url, PERSONAL)))


def test_a_personal_token_that_has_run_out(stand_in: Any) -> None:
    error = failure(Transport(stand_in.url, jwt(token_type="refresh", exp=1)))
    assert "run out" in str(error)
    assert not stand_in.calls


def test_a_revoked_personal_token_says_what_to_do(stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(401, {"detail": "Token is blacklisted"})
    error = failure(Transport(stand_in.url, PERSONAL))
    assert "revoked" in str(error)
    assert "LABEL_STUDIO_API_KEY" in str(error)


@pytest.mark.parametrize(
    ("key", "detail", "said", "calls"),
    [
        ("", "no credentials", "Set LABEL_STUDIO_API_KEY", 0),
        (LEGACY, "Invalid token.", "copy it anew", 1),
        (LEGACY, "legacy token authentication has been disabled", "personal access token", 1),
        (jwt(token_type="access"), "expired", "five minutes", 0),
    ],
)
def test_401_is_explained_by_the_kind_of_token(
    stand_in: Any, reply: Any, key: str, detail: str, said: str, calls: int
) -> None:
    stand_in.handler = lambda call: reply(401, {"detail": detail})
    error = failure(Transport(stand_in.url, key))
    assert error.status == 401
    assert not error.retryable
    assert said in str(error)
    assert len(stand_in.calls) == calls


@pytest.mark.parametrize(
    ("status", "tries", "retryable"),
    [
        (400, 1, False),
        (403, 1, False),
        (404, 1, False),
        (429, 4, True),
        (500, 4, True),
        (503, 4, True),
    ],
)
def test_refusals_and_retries(
    stand_in: Any, reply: Any, waits: Waits, status: int, tries: int, retryable: bool
) -> None:
    stand_in.handler = lambda call: reply(status, {"detail": f"because {LEGACY}"})
    error = failure(Transport(stand_in.url, LEGACY, sleep=waits))
    assert (error.status, error.retryable) == (status, retryable)
    assert "because [token]" in str(error)
    assert len(stand_in.calls) == tries
    assert waits == sorted(waits)
    assert len(waits) == tries - 1


def test_a_passing_failure_is_ridden_out(stand_in: Any, reply: Any, waits: Waits) -> None:
    answers = iter([reply(503, {}, {"Retry-After": "7"}), reply(content={"ok": 1})])
    stand_in.handler = lambda call: next(answers)
    assert Transport(stand_in.url, LEGACY, sleep=waits).call("PATCH", "/api/x") == {"ok": 1}
    assert waits == [7.0]


def test_what_may_have_arrived_is_not_sent_twice(stand_in: Any, reply: Any, waits: Waits) -> None:
    stand_in.handler = lambda call: reply(500, {})
    assert failure(Transport(stand_in.url, LEGACY, sleep=waits), "POST", body={}).retryable
    assert len(stand_in.calls) == 1


def test_down(waits: Waits) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = failure(Transport(f"http://127.0.0.1:{port}", LEGACY, sleep=waits), "POST")
    assert error.status is None
    assert error.retryable
    assert "cannot be reached" in str(error)
    assert len(waits) == 3


def test_slow(stand_in: Any, reply: Any, waits: Waits) -> None:
    stand_in.handler = lambda call: reply(content={}, before=lambda: time.sleep(0.5))
    error = failure(Transport(stand_in.url, LEGACY, timeout=0.1, attempts=2, sleep=waits))
    assert error.retryable
    assert "did not answer" in str(error)
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("content", "claimed", "said"),
    [
        (b'{"tasks": [', 5000, "broke off"),
        (b'{"tasks": [', None, "not JSON"),
        (b"<html>log in</html>", None, "not JSON"),
    ],
)
def test_half_an_answer(
    stand_in: Any, reply: Any, waits: Waits, content: bytes, claimed: int | None, said: str
) -> None:
    stand_in.handler = lambda call: reply(content=content, claimed=claimed)
    error = failure(Transport(stand_in.url, LEGACY, attempts=2, sleep=waits))
    assert error.retryable
    assert said in str(error)
    assert len(stand_in.calls) == 2


def test_a_redirect_is_not_followed(stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(302, b"", {"Location": "https://elsewhere/"})
    error = failure(Transport(stand_in.url, LEGACY))
    assert "elsewhere" in str(error)
    assert "LABEL_STUDIO_URL" in str(error)


def test_an_address_that_is_none() -> None:
    assert "LABEL_STUDIO_URL" in str(failure(Transport("http://", LEGACY)))


def test_nothing_shows_the_token() -> None:
    assert LEGACY not in repr(Transport("http://x", LEGACY))
