"""What the doctor checks of one connected project."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from ml_backend.connection.crowd_checks import crowd_trouble
from ml_backend.connection.findings import Trouble
from ml_backend.connection.wiring import ADDRESS_SWITCHES, TITLE, answerable
from ml_backend.errors import FetchError, LabelConfigError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import (
    BoxControl,
    EllipseControl,
    PointControl,
    UnsupportedTag,
    parse_controls,
)
from ml_backend.labelstudio.events import ACTIONS, SECRET_HEADER
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.labelstudio.queue import UNCERTAINTY_SAMPLING
from ml_backend.settings import Settings
from ml_backend.store.database import Store

IMAGES_TRIED = 3


class ProjectChecks:
    """Checks of one project; each raises `Trouble`, or an error of ours, where all is not well.

    Parameters
    ----------
    settings : Settings
        Ours.
    client : LabelStudioClient
        Label Studio.
    project : mapping
        The project as Label Studio gives it.
    secret : str
        What its webhook must carry.
    store : Store or None
        None: what only the store knows is not checked.
    """

    def __init__(
        self,
        settings: Settings,
        client: LabelStudioClient,
        project: Mapping[str, Any],
        secret: str,
        store: Store | None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._project = project
        self._id = int(project["id"])
        self._secret = secret
        self._store = store
        self._run = f"run `galaxyloop connect --project {self._id}`."
        self._connect = "R" + self._run[1:]

    def controls(self) -> None:
        """It asks something that can be answered."""
        answerable(self._project)

    def left_alone(self) -> tuple[UnsupportedTag, ...]:
        """Return the questions that people answer without us."""
        try:
            return parse_controls(str(self._project.get("label_config", ""))).unsupported
        except LabelConfigError:
            return ()

    def backend(self) -> None:
        """Exactly one ML backend is attached, it is ours, and Label Studio reaches it."""
        attached = self._client.backends(self._id)
        url = self._settings.own_url
        ours = [item for item in attached if str(item.get("url", "")).rstrip("/") == url]
        if not ours:
            others = ", ".join(str(item.get("url")) for item in attached)
            raise Trouble(
                f"This backend ({url}) is not attached"
                + (f"; attached is {others}." if others else "."),
                self._connect,
            )
        if len(attached) > 1:
            raise Trouble(
                f"{len(attached)} ML backends are attached; each costs every task served to a "
                "person two calls, and their titles fight over the project's model version.",
                "Detach the others in Label Studio (Settings, Model).",
            )
        if ours[0].get("state") not in ("CO", None):
            said = str(ours[0].get("error_message") or ours[0].get("readable_state"))[:300]
            remedy = (
                "Start `galaxyloop serve`, or correct GALAXYLOOP_BACKEND_URL and connect again."
            )
            if "reserved network" in said:
                remedy = f"{ADDRESS_SWITCHES}."
            raise Trouble(f"Label Studio cannot use the attached backend: {said}", remedy)
        if ours[0].get("is_interactive") is False and self._asks_for_objects():
            raise Trouble(
                "The attached backend is not marked for interactive preannotations, so the editor "
                "has no Auto-Annotation and nobody can ask for an object.",
                self._connect,
            )

    def _asks_for_objects(self) -> bool:
        try:
            config = parse_controls(str(self._project.get("label_config", "")))
        except LabelConfigError:
            return False
        kinds = BoxControl | EllipseControl | PointControl
        return any(isinstance(c, kinds) and c.smart for c in config.understood)

    def webhook(self) -> None:
        """Its webhook leads here, carries our secret and sends what matters."""
        url = f"{self._settings.own_url}/webhook"
        hooks = [hook for hook in self._client.webhooks(self._id) if hook.get("url") == url]
        if not hooks:
            raise Trouble(
                "No webhook leads to this backend (Label Studio leaves it out where it refuses "
                "private addresses), so new annotations are only found by polling.",
                self._connect,
            )
        hook = hooks[0]
        headers = {str(k).lower(): str(v) for k, v in (hook.get("headers") or {}).items()}
        given = headers.get(SECRET_HEADER.lower(), "")
        if not hmac.compare_digest(given.encode(), self._secret.encode()):
            state = "another secret than ours" if given else "no secret"
            raise Trouble(
                f"Its webhook carries {state}, so we refuse what it sends.", self._connect
            )
        if not hook.get("is_active"):
            raise Trouble("Its webhook is switched off.", self._connect)
        missing = set(ACTIONS) - set(hook.get("actions") or ())
        if missing and not hook.get("send_for_all_actions"):
            raise Trouble(f"Its webhook does not send {', '.join(sorted(missing))}.", self._connect)

    def order(self) -> None:
        """People are served by our order, not at random."""
        sampling = self._project.get("sampling")
        if sampling != UNCERTAINTY_SAMPLING:
            raise Trouble(
                f"Its sampling is {sampling!r}, so our order is not looked at.", self._connect
            )
        version = self._project.get("model_version") or ""
        versions = self._client.model_versions(self._id)
        if version not in versions:
            what = "a backend's title" if version == TITLE else "no published version"
            raise Trouble(
                f"Its model version is {version!r}, {what}: tasks are served at random.",
                f"If no round has ended yet, wait for it (`galaxyloop jobs`); else {self._run}",
            )
        registered = self._store.projects.get(self._id) if self._store else None
        if registered and registered.champion and registered.champion != version:
            raise Trouble(
                f"It serves version {version!r}, but {registered.champion!r} is the champion: "
                "somebody chose another one in Label Studio.",
                self._connect,
            )

    def crowd(self) -> None:
        """Overlap is steered per task, so that the order holds for several people."""
        overlap = self._project.get("maximum_annotations") or 1
        if overlap > 1:
            raise Trouble(
                f"Its maximum_annotations is {overlap}: tasks that others have begun are served "
                "first, at random.",
                f"Set it to 1 (PATCH /api/projects/{self._id}/) and raise the overlap of single "
                "tasks instead.",
            )
        if self._crowded():
            crowd_trouble(self._project, self._store)

    def _crowded(self) -> bool:
        registered = self._store.projects.get(self._id) if self._store else None
        if registered is None or self._store is None:
            return self._settings.most_people > 1
        return int(self._store.projects.option(registered, "most_people")) > 1

    def suggestions(self) -> None:
        """People see our suggestions."""
        if self._project.get("show_collab_predictions") is False:
            raise Trouble(
                "Its show_collab_predictions is off, so people see no suggestions (switching it "
                "off also made Label Studio forget the model version).",
                f"Leave it so for a blind control project; else {self._run}",
            )

    def remaining(self) -> None:
        """Enough ranked tasks are left until the next round."""
        if not (self._project.get("model_version") or ""):
            return
        limit = self._settings.top_k
        ranked = self._client.tasks_by_score(self._id, limit)
        left = sum(not task.get("is_labeled") for task in ranked)
        total = int(self._project.get("task_number") or 0)
        open_tasks = total - int(self._project.get("finished_task_number") or 0)
        enough = min(2 * self._settings.votes_per_round, open_tasks)
        if left < enough:
            raise Trouble(
                f"Only {left} ranked tasks are left of {open_tasks} that wait; behind them the "
                "order is random.",
                "See that the worker runs and its rounds succeed (`galaxyloop jobs`); raise "
                "GALAXYLOOP_TOP_K if people are quicker than rounds.",
            )

    def training_calls(self) -> None:
        """Label Studio does not call for training inside people's Submit."""
        count = self._project.get("min_annotations_to_start_training") or 0
        if count > 0:
            raise Trouble(
                f"Its min_annotations_to_start_training is {count}: at every {count}th annotation "
                "Submit waits for us, up to 100 s where we do not answer. Rounds start without it.",
                f"Set it to 0 (PATCH /api/projects/{self._id}/).",
            )
        if self._project.get("evaluate_predictions_automatically"):
            raise Trouble(
                "Its evaluate_predictions_automatically is on: listing tasks makes Label Studio "
                "ask us for each, one by one.",
                f"Set it to false (PATCH /api/projects/{self._id}/).",
            )

    def images(self) -> None:
        """Its images can be fetched."""
        config = answerable(self._project)
        field = config.answered[0].image_field
        pictures = self._store.picture_addresses() if self._store else None
        fetcher = ImageFetcher(self._settings, self._client, pictures)
        for tried, task in enumerate(
            self._client.tasks(self._id, page_size=IMAGES_TRIED, annotations=False)
        ):
            if tried == IMAGES_TRIED:
                return
            address = (task.get("data") or {}).get(field)
            if address is None:
                raise Trouble(
                    f"Task {task['id']} has no field {field!r}, which the configuration shows.",
                    "Correct the tasks' data, or the value of <Image> in the configuration.",
                )
            try:
                fetcher.fetch(address)
            except FetchError as error:
                raise Trouble(
                    f"The image of task {task['id']} cannot be fetched: {error}",
                    "Do what the message says; `galaxyloop doctor` tries again.",
                ) from None
            self._shown_by_browsers(str(address))

    def _shown_by_browsers(self, address: str) -> None:
        parts = urlsplit(address)
        label_studio = urlsplit(self._client.url)
        if parts.scheme not in ("http", "https") or parts.path.startswith("/data/"):
            return
        if parts.netloc == label_studio.netloc:
            return
        try:
            answer = requests.get(
                address,
                headers={"Origin": self._client.url},
                stream=True,
                allow_redirects=False,
                timeout=self._settings.image_timeout,
            )
            answer.close()
        except requests.RequestException:
            return
        if not answer.headers.get("Access-Control-Allow-Origin"):
            raise Trouble(
                f"{parts.netloc} sends no Access-Control-Allow-Origin with its images, so "
                "annotators' browsers may refuse to show them.",
                "Let that server send 'Access-Control-Allow-Origin: *', or upload the images.",
            )
