"""Logs: one format for all processes, and no secret in any line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ml_backend.settings import Settings

HIDDEN = "[hidden]"

# Keys whose values are hidden whatever they hold.
_SECRET_KEY = re.compile(r"token|secret|password|passwd|api_?key|authorization|cookie", re.I)
# Credentials that stand in the middle of a text: headers, addresses, query strings, JWTs.
_SECRET_TEXT = (
    (re.compile(r"(?i)\b(token|bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + HIDDEN),
    (re.compile(r"(?i)((?:api_?key|token|secret|password)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;}]+"),
     r"\1" + HIDDEN),
    (re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"), HIDDEN),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), HIDDEN),
)  # fmt: skip


class Redaction:
    """Hides secrets in log events, by key, by shape and by value.

    Parameters
    ----------
    secrets : iterable of str
        Values that must never be written; those below 4 characters are left out, because hiding
        them would blank half of every line.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True)

    def text(self, value: str) -> str:
        """Return `value` without any secret."""
        for secret in self._secrets:
            value = value.replace(secret, HIDDEN)
        for pattern, replacement in _SECRET_TEXT:
            value = pattern.sub(replacement, value)
        return value

    def value(self, value: Any, key: str = "") -> Any:
        """Return `value` (text, mapping, sequence or anything else) without any secret."""
        if key and _SECRET_KEY.search(key) and value not in (None, "", True, False):
            return HIDDEN
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {name: self.value(item, str(name)) for name, item in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.value(item) for item in value]
        if isinstance(value, int | float | bool) or value is None:
            return value
        return self.text(str(value))

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Hide secrets in one structlog event."""
        # structlog's own bookkeeping (names with an underscore) is not part of the line.
        return {
            key: item if key.startswith("_") else self.value(item, key)
            for key, item in event.items()
        }


def settings_secrets(settings: Settings) -> list[str]:
    """Return every secret value that the settings hold."""
    return [
        secret.get_secret_value()
        for secret in (
            settings.label_studio_api_key,
            settings.basic_auth_pass,
            settings.webhook_secret,
        )
        if secret.get_secret_value()
    ]


def configure_logs(settings: Settings, *more_secrets: str) -> None:
    """Write the logs of this process, our own and those of libraries, to standard error.

    A terminal gets aligned text, anything else one JSON object per line.

    Parameters
    ----------
    settings : Settings
        Level, and the secrets that are hidden.
    *more_secrets : str
        Secrets that are not settings, such as a webhook secret made by the store.
    """
    redaction = Redaction([*settings_secrets(settings), *more_secrets])
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redaction,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # These write whole addresses (with query strings) or every statement at their lower levels.
    for name in ("httpx", "httpcore", "urllib3", "sqlalchemy", "alembic", "huey", "PIL"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
