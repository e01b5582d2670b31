"""Serving by gunicorn: one process with several threads, set up in code."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import threading
from typing import Any

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger

from ml_backend.app import create_app
from ml_backend.errors import SettingsError
from ml_backend.logs import configure_logs
from ml_backend.settings import Settings
from ml_backend.store.database import open_store

log = structlog.get_logger(__name__)

# Threads beside those that predict and draw, so that /health, /setup and /webhook always find one.
QUICK_THREADS = 8


class ServerLog(Logger):  # type: ignore[misc]
    """gunicorn's messages go where ours go, so that secrets are hidden in them too."""

    def setup(self, cfg: Config) -> None:
        """Leave formats, levels and streams to `configure_logs`."""
        for written in (self.error_log, self.access_log):
            written.handlers.clear()
            written.propagate = True
            written.setLevel(logging.NOTSET)


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with our settings, and without a configuration file.

    Parameters
    ----------
    settings : Settings
        Host, port, limits.
    listener : socket.socket
        Already bound, so that a busy port was seen before anything else is started.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        options: dict[str, Any] = {
            "bind": f"fd://{self._listener.fileno()}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": self._settings.max_predict_requests
            + self._settings.max_picture_requests
            + QUICK_THREADS,
            "keepalive": 30,
            "graceful_timeout": 10,
            "logger_class": ServerLog,
            "post_worker_init": _warm_up,
            "proc_name": "galaxyloop",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, in the worker process."""
        return create_app(self._settings)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host` and `port`.

    Raises
    ------
    SettingsError
        If the port is taken, may not be used, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except socket.gaierror as error:
        raise SettingsError(
            f"HOST {host!r} is not an address: {error.strerror}. Use 127.0.0.1, or 0.0.0.0 for all."
        ) from None
    except OSError as error:
        raise SettingsError(_bind_fault(host, port, error)) from None
    return listener


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises
    ------
    SettingsError
        If the port cannot be bound.
    StoreError
        If the store cannot be opened.
    """
    # Read by torch when the worker imports it: prediction must leave a core to the rest.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))
    listener = bind(settings.host, settings.port)
    store = open_store(settings)
    try:
        configure_logs(settings, store.webhook_secret(), store.picture_secret())
    finally:
        # Connections must not cross gunicorn's fork.
        store.close()
    if not settings.basic_auth_user and settings.host not in ("127.0.0.1", "localhost", "::1"):
        log.warning(
            "open_to_all",
            why=f"the backend listens on {settings.host} without basic auth",
            what_to_do="set BASIC_AUTH_USER and BASIC_AUTH_PASS",
        )
    log.info("serving", address=f"http://{settings.host}:{settings.port}")
    Server(settings, listener).run()


def stay_on_one_processor() -> None:
    """Keep this thread, and those that it starts, on one processor (where the system allows).

    Threads of one interpreter take turns anyway; on several processors they fight for the turn:
    eight predictions at once took 72 ms at the median instead of 39.
    """
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _warm_up(worker: Any) -> None:
    stay_on_one_processor()
    # They give way at every database call, so shorter turns than this only cost.
    sys.setswitchinterval(0.02)
    predictors = worker.app.wsgi().extensions["galaxyloop"]
    threading.Thread(target=predictors.warm_up, name="warm-up", daemon=True).start()


def _bind_fault(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use by another program. "
            f"Stop that one, or choose another port: PORT={port + 1}."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} may not be used by this account. Choose one above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"HOST {host} is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all."
    return f"{host}:{port} cannot be bound: {error.strerror}. Choose another HOST or PORT."
