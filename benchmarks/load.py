"""Eight clients at once over raw sockets, so that they take little of the cores they share."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time

import numpy as np

CONCURRENCY = 8

# Method, path, body, headers.
Call = tuple[str, str, bytes, dict[str, str]]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, call: Call) -> bytes:
    """Make one call and return the body of a 200."""
    method, path, body, headers = call
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {data[:300]!r}")
    return data


def wait_for(port: int, seconds: float = 120.0) -> None:
    """Wait until a server answers ``/health``."""
    end = time.monotonic() + seconds
    while True:
        try:
            ask(port, ("GET", "/health", b"", {}))
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def request_bytes(call: Call) -> bytes:
    """Return a call as it goes over the wire."""
    method, path, body, headers = call
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def exchange(connection: socket.socket, request: bytes) -> None:
    """Send a request and read its answer; cheap, since clients share the cores with the server."""
    connection.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{head[:200]!r} {rest[:300]!r}")
    left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(rest)  # type: ignore[index]
    while left > 0:
        left -= len(connection.recv(65536))


def measure(port: int, call: Call, count: int) -> np.ndarray:
    """Return the seconds of `count` calls made by eight clients at once, each on its connection."""
    seconds: list[float] = []
    errors: list[Exception] = []
    request = request_bytes(call)

    def client() -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(max(1, count // CONCURRENCY)):
                    begun = time.perf_counter()
                    exchange(connection, request)
                    seconds.append(time.perf_counter() - begun)
        except Exception as error:  # noqa: BLE001  reported below, with the others
            errors.append(error)

    threads = [threading.Thread(target=client) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return np.array(seconds)
