"""The accounts of the dashboard, and the audit log of what was done with them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash, generate_password_hash

from ml_backend.errors import StoreError
from ml_backend.store.dashboard_tables import Account, Deed

ROLES = ("viewer", "manager")
LEAST_PASSWORD, MOST_PASSWORD = 8, 1000
"""Characters."""

SessionMaker = Callable[[], AbstractContextManager[Session]]


@lru_cache(maxsize=1)
def _nobody() -> str:
    # Made when first needed: hashing is slow on purpose, and most commands need none.
    return generate_password_hash("nobody")


class AccountStore:
    """Reads and writes of :class:`~ml_backend.store.dashboard_tables.Account` and `Deed` rows."""

    def __init__(self, write: SessionMaker, read: SessionMaker) -> None:
        self._write, self._read = write, read

    def save(self, name: str, password: str, role: str = "viewer") -> Account:
        """Make an account, or give one another password and role.

        Raises
        ------
        StoreError
            The name is empty, odd or too long, the password too short or too long, or there is
            no such role.
        """
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise StoreError("The name of an account has 1 to 100 characters that can be seen.")
        if len(password) < LEAST_PASSWORD:
            raise StoreError(f"A password needs at least {LEAST_PASSWORD} characters.")
        if len(password) > MOST_PASSWORD:
            raise StoreError(f"A password has at most {MOST_PASSWORD} characters.")
        if role not in ROLES:
            raise StoreError(f"No role is called {role!r}. There are: {', '.join(ROLES)}.")
        hashed = generate_password_hash(password)
        with self._write() as session:
            account = session.get(Account, name)
            if account is None:
                account = Account(name=name, created_at=datetime.now(UTC))
                session.add(account)
            account.password_hash, account.role = hashed, role
            session.flush()
            return account

    def remove(self, name: str) -> bool:
        """Remove an account; False where there is none."""
        with self._write() as session:
            account = session.get(Account, name)
            if account is not None:
                session.delete(account)
            return account is not None

    def get(self, name: str) -> Account | None:
        """Return an account, None where there is none."""
        with self._read() as session:
            return session.get(Account, name)

    def listing(self) -> list[Account]:
        """Return all accounts, by name."""
        with self._read() as session:
            return list(session.scalars(select(Account).order_by(Account.name)))

    def check(self, name: str, password: str) -> Account | None:
        """Return the account if the password is right; it takes as long for unknown names."""
        account = self.get(name)
        right = check_password_hash(account.password_hash if account else _nobody(), password)
        if account is None or not right:
            return None
        with self._write() as session:
            found = session.get(Account, name)
            if found is not None:
                found.last_login_at = datetime.now(UTC)
            return found

    def note(
        self, account: str, action: str, subject: str = "", project_id: int | None = None,
        **details: Any,
    ) -> None:  # fmt: skip
        """Write into the audit log that an account did something."""
        with self._write() as session:
            session.add(
                Deed(
                    at=datetime.now(UTC),
                    account=account,
                    project_id=project_id,
                    action=action,
                    subject=subject,
                    details=details,
                )
            )

    def deeds(self, project_id: int | None = None, limit: int = 100) -> list[Deed]:
        """Return the latest entries of the audit log, newest first."""
        query = select(Deed).order_by(Deed.id.desc()).limit(limit)
        if project_id is not None:
            query = query.where(Deed.project_id == project_id)
        with self._read() as session:
            return list(session.scalars(query))
