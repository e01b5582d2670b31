"""The account of the demo's own Label Studio, made once and kept."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ml_backend.errors import DemoError

FILE_NAME = "account.json"


@dataclass(frozen=True)
class Account:
    """Who logs in.

    Parameters
    ----------
    email : str
        Login name.
    password : str
        At least eight characters.
    token : str
        API token (legacy kind), 40 hexadecimal digits.
    path : Path
        File that keeps it, readable by its owner only.
    """

    email: str
    password: str
    token: str
    path: Path

    def __repr__(self) -> str:
        return f"Account(email={self.email!r}, path={str(self.path)!r})"

    @classmethod
    def kept_in(cls, folder: Path, email: str = "demo@example.com") -> Self:
        """Read the account of `folder`, or make one and keep it there (mode 0600).

        Raises
        ------
        DemoError
            The file is there but cannot be used.
        """
        path = folder / FILE_NAME
        if path.exists():
            try:
                kept = json.loads(path.read_text())
                return cls(kept["email"], kept["password"], kept["token"], path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DemoError(
                    f"The account file {path} cannot be read ({type(error).__name__}). "
                    "Restore it, or remove the whole folder to begin anew."
                ) from error
        folder.mkdir(parents=True, exist_ok=True)
        account = cls(email, secrets.token_urlsafe(9), secrets.token_hex(20), path)
        account.keep()
        return account

    def keep(self) -> None:
        """Write the file whole or not at all."""
        kept = {name: value for name, value in asdict(self).items() if name != "path"}
        draft = self.path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
