"""The one secret that we make ourselves: what webhooks must carry."""

from __future__ import annotations

import os
import secrets

from ml_backend.errors import StoreError
from ml_backend.settings import Settings


def webhook_secret(settings: Settings) -> str:
    """Return the secret of the setting, else the one kept in the data folder (made once).

    Raises
    ------
    StoreError
        The file can be neither read nor made, or is empty.
    """
    given = settings.webhook_secret.get_secret_value()
    if given:
        return given
    path = settings.model_dir / "webhook-secret"
    try:
        settings.model_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            made = path.with_name(f".webhook-secret.{os.getpid()}.{secrets.token_hex(4)}")
            handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(32))
            try:
                os.link(made, path)  # fails where another process was quicker: theirs holds
            except FileExistsError:
                pass
            finally:
                made.unlink()
        secret = path.read_text().strip()
    except OSError as error:
        raise StoreError(
            f"The webhook secret {path} cannot be read or made ({error.strerror}). "
            "Make the folder writable, or set GALAXYLOOP_WEBHOOK_SECRET."
        ) from error
    if not secret:
        raise StoreError(f"{path} is empty. Delete it and run `galaxyloop connect` again.")
    return secret
