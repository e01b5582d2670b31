"""`doctor`: run every check and report what it finds, one remedy each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ml_backend.connection import server_checks
from ml_backend.connection.findings import Finding, Trouble, look
from ml_backend.connection.project_checks import ProjectChecks
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.settings import Settings
from ml_backend.store.database import Store
from ml_backend.store.secrets import webhook_secret


def doctor(
    settings: Settings,
    store: Store | None = None,
    project_ids: Sequence[int] | None = None,
    client: LabelStudioClient | None = None,
) -> list[Finding]:
    """Check every known trap; changes nothing and locks no task.

    Parameters
    ----------
    settings : Settings
        What is checked.
    store : Store, optional
        None: the worker and published versions are not checked.
    project_ids : sequence of int, optional
        Projects to check; by default all that are connected.
    client : LabelStudioClient, optional
        Used instead of one made from the settings.

    Returns
    -------
    list of Finding
        In the order in which they should be dealt with. Where Label Studio does not answer,
        nothing that needs it is checked.
    """
    client = client or LabelStudioClient.from_settings(settings)
    return list(_findings(settings, store, project_ids, client))


def _findings(
    settings: Settings,
    store: Store | None,
    project_ids: Sequence[int] | None,
    client: LabelStudioClient,
) -> Iterator[Finding]:
    yield look("disk space", lambda: server_checks.disk(settings))
    yield look("this backend answers", lambda: server_checks.backend_answers(settings))
    yield look("this backend is protected", lambda: server_checks.backend_protected(settings))
    yield look("the LVM is there", lambda: server_checks.network(settings))
    if store is not None:
        yield look("a worker is running", lambda: server_checks.worker(store))
    found = look("Label Studio answers", lambda: server_checks.reachable(client))
    yield found
    if not found.ok:
        return
    yield look("Label Studio's version", lambda: server_checks.supported(client))
    yield look("Label Studio's clock", lambda: server_checks.clock(client))
    found = look("Label Studio's token", lambda: server_checks.token(client))
    yield found
    if not found.ok:
        return
    if project_ids is None and store is not None:
        project_ids = [project.id for project in store.projects.listing()]
        yield look("projects are connected", lambda: _some_connected(project_ids or ()))
    for project_id in project_ids or ():
        yield from _of_project(settings, store, project_id, client)


def _of_project(
    settings: Settings, store: Store | None, project_id: int, client: LabelStudioClient
) -> Iterator[Finding]:
    held: dict[str, Any] = {}

    def read() -> None:
        held["project"] = client.project(project_id)
        held["secret"] = webhook_secret(settings)

    name = f"project {project_id}"
    found = look(f"{name}: can be read", read)
    yield found
    if not found.ok:
        return
    checks = ProjectChecks(settings, client, held["project"], held["secret"], store)
    yield look(f"{name}: questions", checks.controls)
    # Named, but nothing is wrong: people answer these as before.
    for tag in checks.left_alone():
        yield Finding(f"{name}: <{tag.tag} name={tag.name!r}> is left alone: {tag.reason}", True)
    yield look(f"{name}: backend", checks.backend)
    yield look(f"{name}: webhook", checks.webhook)
    yield look(f"{name}: order", checks.order)
    yield look(f"{name}: overlap", checks.crowd)
    yield look(f"{name}: suggestions", checks.suggestions)
    yield look(f"{name}: ranked tasks", checks.remaining)
    yield look(f"{name}: calls inside Submit", checks.training_calls)
    yield look(f"{name}: images", checks.images)
    if store is not None:
        yield look(f"{name}: jobs", lambda: _latest_job(store, project_id))


def _some_connected(project_ids: Sequence[int]) -> None:
    if not project_ids:
        raise Trouble(
            "No project is connected.", "Run `galaxyloop connect --project N` for each project."
        )


def _latest_job(store: Store, project_id: int) -> None:
    ended = (job for job in store.jobs.listing(project_id) if job.state in ("done", "failed"))
    latest = next(ended, None)
    if latest is not None and latest.state == "failed":
        raise Trouble(
            f"Its latest job failed: {latest.problem or latest.message}",
            "Do what the reason says; the worker tries again by itself.",
        )
