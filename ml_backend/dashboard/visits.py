"""Who is logged in: what the signed cookie says, and when it no longer holds."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from datetime import timedelta
from threading import Lock

from flask import session

from ml_backend.store.accounts import AccountStore
from ml_backend.store.dashboard_tables import Account

IDLE = timedelta(hours=12)
"""A visit ends after so long without a page."""
LONGEST = timedelta(days=7)
"""A visit ends after so long in any case."""
_MOST_ENDED = 100_000


class Visits:
    """Begins, recognises and ends visits.

    A visit ends when its account is removed or gets another password. One that was logged out is
    remembered in memory, so that a copy of its cookie is worth nothing.
    """

    def __init__(self, accounts: AccountStore) -> None:
        self._accounts = accounts
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def begin(self, account: Account) -> None:
        """Put a visit of `account` into the session, in place of what was there."""
        session.clear()
        session.permanent = True
        session.update(
            account=account.name,
            mark=_mark(account),
            since=int(time.time()),
            visit=secrets.token_urlsafe(12),
        )

    def account(self) -> Account | None:
        """Return whose visit this is, None where there is none that holds."""
        name, visit, since = (session.get(key) for key in ("account", "visit", "since"))
        if not isinstance(name, str) or not isinstance(since, int):
            return None
        if visit in self._ended or not 0 <= time.time() - since < LONGEST.total_seconds():
            return None
        account = self._accounts.get(name)
        given = str(session.get("mark", ""))
        if account is None or not hmac.compare_digest(given, _mark(account)):
            return None
        return account

    def end(self) -> None:
        """End the visit, also for copies of its cookie."""
        visit = session.get("visit")
        session.clear()
        if visit:
            with self._lock:
                self._ended[str(visit)] = None
                while len(self._ended) > _MOST_ENDED:
                    self._ended.popitem(last=False)


def _mark(account: Account) -> str:
    """Return what changes with the password and says nothing about it."""
    return hashlib.sha256(account.password_hash.encode()).hexdigest()[:24]
