"""Attach this backend to a Label Studio project, completely, also where it is half done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

from ml_backend.errors import LabelConfigError, LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.labelstudio.events import ACTIONS, SECRET_HEADER
from ml_backend.labelstudio.queue import UNCERTAINTY_SAMPLING
from ml_backend.settings import Settings
from ml_backend.store.database import Store, open_store

TITLE = "GalaxyLoop"
ADDRESS_SWITCHES = (
    "Set ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false (or "
    "USE_DEFAULT_BANNED_SUBNETS=false alone) in the environment of Label Studio and restart it"
)


@dataclass(frozen=True)
class ConnectReport:
    """What `connect` found and did; printed, it is what a person should read.

    Attributes
    ----------
    project : int
        Id of the project.
    title : str
        Its title.
    backend_id, webhook_id : int
        Ids in Label Studio.
    steps : tuple of str
        What was changed, in order.
    warnings : tuple of str
        What a person should know.
    """

    project: int
    title: str
    backend_id: int
    webhook_id: int
    steps: tuple[str, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"Project {self.project} ({self.title}) is connected."]
        lines += [f"  - {step}" for step in self.steps]
        lines += [f"  ! {warning}" for warning in self.warnings]
        return "\n".join(lines)


def connect(
    settings: Settings,
    project_id: int,
    strategy: str | None = None,
    *,
    store: Store | None = None,
    client: LabelStudioClient | None = None,
    options: Mapping[str, Any] | None = None,
) -> ConnectReport:
    """Connect a project; may be repeated, and repairs what an earlier try left behind.

    The backend (`galaxyloop serve`) must be running: Label Studio calls it. Afterwards the
    backend is attached with our credentials, its webhook carries our secret and only the actions
    that matter, the project is served by score, and the first round is queued.

    Parameters
    ----------
    settings : Settings
        Names Label Studio, its token, our address and credentials.
    project_id : int
        Label Studio's id of the project.
    strategy : str, optional
        Query strategy of this project; None keeps what it has.
    store, client : optional
        Used instead of ones made from the settings.
    options : mapping, optional
        Further options of the project; with any, the queued round orders its tasks anew.

    Raises
    ------
    LabelStudioError
        Label Studio refuses a step; the message names the setting to change.
    LabelConfigError
        The project asks nothing that can be answered.
    """
    client = client or LabelStudioClient.from_settings(settings)
    user = client.current_user()
    project = client.project(project_id)
    config = answerable(project)
    with nullcontext(store) if store else closing(open_store(settings)) as kept:
        wiring = _Wiring(settings, client, project, kept.webhook_secret())
        backend = wiring.backend()
        webhook = wiring.webhook()
        registered = kept.projects.get(project_id)
        chosen = {**(options or {}), **({"strategy": strategy} if strategy else {})}
        most = chosen.get("most_people") or (
            kept.projects.option(registered, "most_people") if registered else settings.most_people
        )
        crowded = int(most) > 1
        wiring.project(registered.champion if registered else None, crowded)
        kept.projects.save(
            project_id,
            title=str(project.get("title", "")),
            label_config=str(project.get("label_config", "")),
            options=chosen or None,
            backend_id=backend,
            webhook_id=webhook,
        )
        # New options change the order, though votes and heads are the same.
        kept.jobs.enqueue("round", project_id, {"rerank": True} if chosen else None)
    wiring.steps.append("queued a round, which ranks the tasks (`galaxyloop work` runs it)")
    warnings = [
        f"<{tag.tag} name={tag.name!r}> is left alone: {tag.reason}." for tag in config.unsupported
    ]
    if crowded:
        warnings.append(
            "Who goes away with a task holds it for a day unless TASK_LOCK_TTL (seconds, e.g. "
            "3600) is set in the environment of Label Studio; its API neither tells nor sets it"
        )
    return ConnectReport(
        project=project_id,
        title=str(project.get("title", "")),
        backend_id=backend,
        webhook_id=webhook,
        steps=(f"signed in as {user.get('email', 'unknown')}", *wiring.steps),
        warnings=(*wiring.warnings, *warnings),
    )


def answerable(project: Mapping[str, Any]) -> LabelConfig:
    """Return the controls of a project.

    Raises
    ------
    LabelConfigError
        There is none that can be answered.
    """
    config = parse_controls(str(project.get("label_config", "")))
    if not config.answered:
        reasons = "; ".join(f"<{tag.tag}> {tag.reason}" for tag in config.unsupported)
        raise LabelConfigError(
            f"Project {project.get('id')} asks nothing that can be answered"
            f"{': ' + reasons if reasons else ''}. Give it a <Choices> on an <Image> (Settings, "
            "Labeling Interface; labeling_configs/ has examples)."
        )
    return config


class _Wiring:
    """The steps in Label Studio; each leaves alone what is already right."""

    def __init__(
        self,
        settings: Settings,
        client: LabelStudioClient,
        project: Mapping[str, Any],
        secret: str,
    ) -> None:
        self._settings = settings
        self._client = client
        self._before = project
        self._id = int(project["id"])
        self._secret = secret
        self._url = settings.own_url
        self.steps: list[str] = []
        self.warnings: list[str] = []

    def backend(self) -> int:
        """Attach our backend, or bring the attached one up to date; return its id."""
        attached = self._client.backends(self._id)
        ours = [item for item in attached if str(item.get("url", "")).rstrip("/") == self._url]
        for other in attached:
            if other not in ours:
                self.warnings.append(
                    f"another ML backend is attached ({other.get('title')!r}, {other.get('url')}). "
                    "Detach it (Settings, Model) unless you mean to use both."
                )
        for extra in ours[1:]:
            self._client.delete_backend(int(extra["id"]))
            self.steps.append(f"detached a second entry of this backend ({extra['id']})")
        existing = int(ours[0]["id"]) if ours else None
        try:
            made = self._client.attach_backend(
                self._id,
                self._url,
                TITLE,
                self._settings.basic_auth_user,
                self._settings.basic_auth_pass.get_secret_value(),
                backend=existing,
            )
        except LabelStudioError as error:
            raise self._explained(error) from None
        self.steps.append(
            f"{'attached' if existing is None else 'brought up to date'}: backend {self._url}"
        )
        return int(made["id"])

    def webhook(self) -> int:
        """Give our webhook its secret and actions; make it where a half attach left none."""
        url = f"{self._url}/webhook"
        wanted: dict[str, Any] = {
            "send_payload": True,
            "send_for_all_actions": False,
            "is_active": True,
            "actions": list(ACTIONS),
            "headers": {SECRET_HEADER: self._secret},
        }
        ours = [
            hook
            for hook in self._client.webhooks(self._id)
            if hook.get("url") == url and hook.get("project") == self._id
        ]
        try:
            if ours:
                made = self._client.update_webhook(int(ours[0]["id"]), **wanted)
                self.steps.append("gave its webhook our secret and the actions that matter")
            else:
                made = self._client.create_webhook(url, project=self._id, **wanted)
                self.steps.append("made its webhook, which was missing, with our secret")
        except LabelStudioError as error:
            raise self._explained(error) from None
        for extra in ours[1:]:
            self._client.delete_webhook(int(extra["id"]))
        return int(made["id"])

    def project(self, champion: str | None, crowded: bool = False) -> None:
        """Serve by score, show suggestions, and undo what attaching did to the model version."""
        now = self._client.project(self._id)
        wanted: dict[str, Any] = {"sampling": UNCERTAINTY_SAMPLING, "show_collab_predictions": True}
        # Attaching writes the backend's title into it, which turns our order into a random one.
        versions = self._client.model_versions(self._id)
        before = self._before.get("model_version") or ""
        if champion in versions:
            wanted["model_version"] = champion
        elif before in versions:
            wanted["model_version"] = before
        else:
            wanted["model_version"] = ""
        changes = {
            name: value for name, value in wanted.items() if (now.get(name) or "") != (value or "")
        }
        if changes:
            self._client.update_project(self._id, **changes)
            said = ", ".join(f"{name} = {value!r}" for name, value in changes.items())
            self.steps.append(f"set the project's {said}")
        if (self._before.get("maximum_annotations") or 1) > 1 and crowded:
            self._client.update_project(self._id, maximum_annotations=1)
            self.steps.append("set the project's maximum_annotations = 1: votes go task by task")
            return
        overlap = self._before.get("maximum_annotations") or 1
        if overlap > 1:
            self.warnings.append(
                f"maximum_annotations is {overlap}: begun tasks are served at random before ours. "
                "Set it to 1 and raise the overlap of single tasks instead."
            )

    def _explained(self, error: LabelStudioError) -> LabelStudioError:
        text = str(error)
        if error.status == 403 and "reserved network" in text:
            advice = (
                f"Label Studio refuses {self._url}, an address in a private network. "
                f"{ADDRESS_SWITCHES}; then connect again, which also repairs what is half attached."
            )
        elif "authentication parameters" in text:
            advice = (
                f"The backend at {self._url} refuses our own credentials. Give `galaxyloop serve` "
                "and this command the same BASIC_AUTH_USER and BASIC_AUTH_PASS."
            )
        elif "health check failed" in text or "Can't connect" in text:
            advice = (
                f"Label Studio cannot reach the backend at {self._url}. Start `galaxyloop serve`; "
                "if it runs, set GALAXYLOOP_BACKEND_URL to its address as Label Studio sees it."
            )
        else:
            return error
        return LabelStudioError(advice, status=error.status)
