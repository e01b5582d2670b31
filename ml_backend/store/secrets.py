"""The secrets that we make ourselves: of webhooks, of pictures' addresses, of the dashboard."""

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
    remedy = "Delete it and run `galaxyloop connect` again."
    return given or _kept(settings, "webhook-secret", "GALAXYLOOP_WEBHOOK_SECRET", remedy)


def picture_secret(settings: Settings) -> str:
    """Return the secret that signs addresses of pictures, kept as the one of webhooks is.

    It is another one, since whoever sees webhooks in Label Studio could sign pictures with theirs.

    Raises
    ------
    StoreError
        As of `webhook_secret`.
    """
    given = settings.picture_secret.get_secret_value()
    remedy = "Delete it and import tasks with pictures again."
    return given or _kept(settings, "picture-secret", "GALAXYLOOP_PICTURE_SECRET", remedy)


def dashboard_secret(settings: Settings) -> str:
    """Return the secret that signs the dashboard's cookies, kept in the data folder (made once).

    Raises
    ------
    StoreError
        The file can be neither read nor made, or is empty.
    """
    remedy = "Delete it: people log in again."
    return _kept(settings, "dashboard-secret", "MODEL_DIR", remedy)


def _kept(settings: Settings, name: str, setting: str, remedy: str) -> str:
    path = settings.model_dir / name
    try:
        settings.model_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            made = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
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
            f"The {name.replace('-', ' ')} {path} cannot be read or made ({error.strerror}). "
            f"Make the folder writable, or set {setting}."
        ) from error
    if not secret:
        raise StoreError(f"{path} is empty. {remedy}")
    return secret
