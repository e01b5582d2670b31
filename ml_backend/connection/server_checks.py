"""What the doctor checks of Label Studio, of this backend, and of the machine."""

from __future__ import annotations

import ipaddress
import re
import shutil
from urllib.parse import urlsplit

import requests

from ml_backend.connection.findings import Trouble
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.settings import Settings
from ml_backend.store.database import Store

SEEN_WITH = (1, 23)
LEAST_VERSION = (1, 20)
LEAST_FREE_BYTES = 2**30
MOST_SKEW_SECONDS = 60.0


def reachable(client: LabelStudioClient) -> None:
    """Label Studio answers."""
    client.health()


def supported(client: LabelStudioClient) -> None:
    """Its version is one that this backend was built for."""
    text = client.version()
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if numbers < LEAST_VERSION:
        raise Trouble(
            f"Label Studio is {text or 'of an unknown version'}; this backend was made for "
            f"{SEEN_WITH[0]}.{SEEN_WITH[1]}, and knows nothing of versions before "
            f"{LEAST_VERSION[0]}.{LEAST_VERSION[1]}.",
            "Upgrade Label Studio (pip install -U label-studio).",
        )


def token(client: LabelStudioClient) -> None:
    """Its token is known and will stay so."""
    if client.token_kind == "access":
        raise Trouble(
            "LABEL_STUDIO_API_KEY holds an access token, which ends after five minutes.",
            "Set it to the personal access token itself.",
        )
    client.current_user()


def clock(client: LabelStudioClient) -> None:
    """Its clock and ours agree."""
    skew = client.clock_skew()
    if abs(skew) > MOST_SKEW_SECONDS:
        raise Trouble(
            f"Label Studio's clock is {abs(skew):.0f} s "
            f"{'ahead of' if skew > 0 else 'behind'} ours; times that we show are wrong by that.",
            "Let both machines set their clocks by NTP.",
        )


def backend_answers(settings: Settings) -> None:
    """`galaxyloop serve` answers at the address that Label Studio is given."""
    auth = None
    if settings.basic_auth_user:
        auth = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    try:
        answer = requests.get(f"{settings.own_url}/health", auth=auth, timeout=1.0)
    except requests.Timeout:
        raise Trouble(
            f"This backend at {settings.own_url} needs more than the 1 s that Label Studio allows.",
            "Look at the load of its machine; `galaxyloop work` must run in another process.",
        ) from None
    except requests.RequestException as error:
        raise Trouble(
            f"This backend does not answer at {settings.own_url} ({type(error).__name__}).",
            "Start `galaxyloop serve`, or set GALAXYLOOP_BACKEND_URL to where it can be reached.",
        ) from None
    if answer.status_code == 401:
        raise Trouble(
            f"The backend at {settings.own_url} does not accept our credentials.",
            "Give all processes the same BASIC_AUTH_USER and BASIC_AUTH_PASS.",
        )
    if answer.status_code != 200:
        raise Trouble(
            f"What answers at {settings.own_url}/health says {answer.status_code}.",
            "Check that no other program uses that port (PORT, GALAXYLOOP_BACKEND_URL).",
        )


def backend_protected(settings: Settings) -> None:
    """Nobody without credentials can call this backend from elsewhere."""
    if settings.basic_auth_user or _is_loopback(settings.host):
        return
    raise Trouble(
        f"This backend listens on {settings.host} and asks nobody for a password.",
        "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, restart it, and run `galaxyloop connect` again.",
    )


def disk(settings: Settings) -> None:
    """There is room for embeddings and versions."""
    folder = settings.model_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise Trouble(
            f"Only {free / 2**20:.0f} MiB are free on the disk of {folder}.",
            "Free some space, or move MODEL_DIR to a larger disk.",
        )


def network(settings: Settings) -> None:
    """The LVM is where GALAXYLOOP_LVM says, and is described well enough to be used."""
    # Slow to import; only the doctor's own command pays for it.
    from models.sources import check_lvm
    from models.sunet import LVMError

    try:
        check_lvm(settings.lvm)
    except LVMError as error:
        raise Trouble(
            f"The LVM cannot be used: {error}",
            "Set GALAXYLOOP_LVM to the folder of an LVM or a Hugging Face vision encoder, the same "
            "for `serve` and `work`.",
        ) from None


def worker(store: Store) -> None:
    """A worker is alive."""
    if not store.jobs.workers():
        waiting = len(store.jobs.queued())
        raise Trouble(
            f"No worker is running, so nothing is trained or ranked ({waiting} jobs wait).",
            "Start `galaxyloop work` with the same MODEL_DIR.",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return (urlsplit(f"//{host}").hostname or "") == "localhost"
