"""Our order in Label Studio: publish a version's predictions, switch to it, clear up behind.

Label Studio serves, in ascending order of ``score``, the tasks that have a prediction of exactly
the project's ``model_version``. So an order is imported under a new version name, which nobody
sees yet, and then the project is switched to it, which is one small write.

Whether the order holds is read from the task list, which Label Studio sorts by the score of the
current version, and from the project's settings. Asking ``next`` instead would lock the first task
for the account that we act as, for up to a day, and give that task to nobody else; and while our
account holds a lock, ``next`` only ever answers that task. `ask_next` is there for set-ups where
that does not matter (tests, a project with one annotator who is our account).
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient

UNCERTAINTY_SAMPLING = "Uncertainty sampling"
LARGEST_AT_ONCE = 200

_IMPORT_BATCH = 500


@dataclass(frozen=True)
class PublishReport:
    """What `publish` did.

    Attributes
    ----------
    version : str
        The version that is now the project's.
    imported, already_there : int
        Predictions imported by this call; found from an earlier, interrupted one.
    refused : tuple of int
        Tasks whose prediction Label Studio dropped: it does not fit the labelling configuration.
    gone : tuple of int
        Tasks that do not exist any more.
    in_order : bool
        Whether Label Studio now serves by our order.
    problem : str
        Why not, and what to do; empty if it does.
    import_seconds, switch_seconds : float
        Time for the import with its checks, and for the switch.
    """

    version: str
    imported: int
    already_there: int
    refused: tuple[int, ...]
    gone: tuple[int, ...]
    in_order: bool
    problem: str
    import_seconds: float
    switch_seconds: float


def publish(
    client: LabelStudioClient,
    project: int,
    version: str,
    predictions: Sequence[Mapping[str, Any]],
    ask_next: bool = False,
) -> PublishReport:
    """Make an order the one that people are served.

    May be killed anywhere and called again with the same arguments: what is there already is not
    imported again, and duplicates (a call that arrived though its answer was lost) are removed.

    Parameters
    ----------
    client : LabelStudioClient
        Label Studio.
    project : int
        Id of the project.
    version : str
        Name that no other order of the project has.
    predictions : sequence of mapping
        ``{"task": id, "result": [...], "score": float in [0, 1]}``, one per task; the lowest score
        is served first. Only the top of the ranking needs to be sent.
    ask_next : bool
        Also ask ``next``; see the module's text for what that costs.

    Raises
    ------
    ValueError
        No predictions, two for one task, or a score outside [0, 1].
    LabelStudioError
        Label Studio failed, or stored none of the predictions (then nothing was switched).
    """
    wanted = _by_task(predictions)
    started = time.monotonic()
    present = _settle(client, project, version, wanted)
    missing = [task for task in wanted if task not in present]
    gone: tuple[int, ...] = ()
    if missing:
        gone = _import(client, project, version, [wanted[task] for task in missing])
        present = _settle(client, project, version, wanted)
    refused = tuple(task for task in wanted if task not in present and task not in gone)
    if not present:
        raise LabelStudioError(
            f"Label Studio stored none of {len(wanted)} predictions of version {version!r} in "
            f"project {project}: {len(refused)} do not fit the labelling configuration, "
            f"{len(gone)} tasks are gone. The configuration was probably changed meanwhile; the "
            "next round reads it anew."
        )
    imported = time.monotonic()
    if client.project(project).get("model_version") != version:
        client.update_project(project, model_version=version)
    switched = time.monotonic()
    problem = order_problem(client, project, version, [wanted[task] for task in present])
    if not problem and ask_next:
        problem = _next_problem(client, project, version)
    return PublishReport(
        version=version,
        imported=sum(task in present for task in missing),
        already_there=len(wanted) - len(missing),
        refused=refused,
        gone=gone,
        in_order=not problem,
        problem=problem,
        import_seconds=imported - started,
        switch_seconds=switched - imported,
    )


def order_problem(
    client: LabelStudioClient,
    project: int,
    version: str,
    predictions: Sequence[Mapping[str, Any]] = (),
    depth: int = 50,
) -> str:
    """Say why people are not served by the order of `version`; "" if they are.

    Parameters
    ----------
    client : LabelStudioClient
        Label Studio.
    project : int
        Id of the project.
    version : str
        The version that should be served.
    predictions : sequence of mapping
        ``{"task": id, "score": float}`` of that version; empty: the order itself is not compared.
    depth : int
        How many of the first tasks are compared.
    """
    state = client.project(project)
    if state.get("model_version") != version:
        return (
            f"The project's model version is {state.get('model_version')!r}, not {version!r}: "
            "somebody changed it (Settings, Annotation), or a backend was attached. Run "
            f"`galaxyloop connect --project {project}`."
        )
    if state.get("sampling") != UNCERTAINTY_SAMPLING:
        return (
            f"The project's sampling is {state.get('sampling')!r}, so scores are not looked at. "
            f"Run `galaxyloop connect --project {project}`, which sets it."
        )
    overlap = state.get("maximum_annotations")
    if isinstance(overlap, int) and overlap > 1:
        return (
            f"The project's maximum_annotations is {overlap}, so begun tasks are served at random "
            "first. Set it to 1 and raise the overlap of single tasks instead."
        )
    if not predictions:
        return ""
    expected = {int(item["task"]): float(item["score"]) for item in predictions}
    first = sorted(expected.values())[:depth]
    served = client.tasks_by_score(project, len(first))
    # Scores are compared, not ids: the order of equal scores is free.
    found = [expected.get(task["id"]) for task in served]
    if len(found) == len(first) and all(
        score is not None and math.isclose(score, want, abs_tol=1e-9)
        for score, want in zip(found, first, strict=True)
    ):
        return ""
    return (
        f"Label Studio does not list the tasks of project {project} by the scores of version "
        f"{version!r}. Other predictions carry the same version name; publish under a new one."
    )


def remove_old_versions(
    client: LabelStudioClient,
    project: int,
    versions: Collection[str],
    may_continue: Callable[[], bool] = lambda: True,
    slice_size: int = 20,
) -> int:
    """Delete the predictions of versions that are no longer served.

    A version of up to `LARGEST_AT_ONCE` predictions goes in one call (about 7 ms each, during
    which Label Studio on SQLite lets nobody else write); of a larger one single predictions are
    deleted first (about 90 ms each, others may write in between) until so many are left.

    Parameters
    ----------
    client : LabelStudioClient
        Label Studio.
    project : int
        Id of the project.
    versions : collection of str
        What to delete: name only versions of our own. The project's current version is kept, even
        if named.
    may_continue : callable
        Asked before each slice; may wait in it. False stops: the next call goes on.
    slice_size : int
        Single deletions between two questions.

    Returns
    -------
    int
        Predictions deleted.
    """
    current = client.project(project).get("model_version")
    deleted = 0
    for version, count in sorted(client.model_versions(project).items()):
        if version not in versions or version == current:
            continue
        if count > LARGEST_AT_ONCE:
            rows = client.predictions(project, version)[: count - LARGEST_AT_ONCE]
            for start in range(0, len(rows), slice_size):
                if not may_continue():
                    return deleted
                for row in rows[start : start + slice_size]:
                    client.delete_prediction(int(row["id"]))
                    deleted += 1
        if not may_continue():
            return deleted
        deleted += client.delete_version(project, version)
    return deleted


def _by_task(predictions: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    if not predictions:
        raise ValueError("there is nothing to publish: no predictions")
    wanted: dict[int, Mapping[str, Any]] = {}
    for prediction in predictions:
        task, score = prediction["task"], prediction["score"]
        if task in wanted:
            raise ValueError(f"task {task} has two predictions")
        if not isinstance(score, (int, float)) or not 0 <= score <= 1:
            raise ValueError(f"the score of task {task} is {score!r}, not a number in [0, 1]")
        wanted[int(task)] = prediction
    return wanted


def _settle(
    client: LabelStudioClient,
    project: int,
    version: str,
    wanted: Mapping[int, Mapping[str, Any]],
) -> set[int]:
    """Return the tasks that have their prediction; remove duplicates and ones of another order."""
    if not client.model_versions(project).get(version):
        return set()
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in client.predictions(project, version):
        rows[row["task"]].append(row)
    present: set[int] = set()
    for task, found in rows.items():
        prediction = wanted.get(task)
        for row in found:
            score = row.get("score")
            same = (
                prediction is not None
                and isinstance(score, (int, float))
                and math.isclose(score, prediction["score"], abs_tol=1e-9)
            )
            if same and task not in present:
                present.add(task)
            else:
                client.delete_prediction(int(row["id"]))
    return present


def _import(
    client: LabelStudioClient,
    project: int,
    version: str,
    predictions: Sequence[Mapping[str, Any]],
) -> tuple[int, ...]:
    """Import in batches; return the tasks that turned out not to exist any more."""
    gone: tuple[int, ...] = ()
    existing: set[int] | None = None
    for start in range(0, len(predictions), _IMPORT_BATCH):
        batch: list[dict[str, Any]] = [
            {
                "task": int(item["task"]),
                "result": list(item["result"]),
                "score": float(item["score"]),
                "model_version": version,
            }
            for item in predictions[start : start + _IMPORT_BATCH]
        ]
        try:
            client.import_predictions(project, batch)
        except LabelStudioError as error:
            if error.status != 400:
                raise
            # One deleted task refuses the whole batch.
            existing = existing or client.task_ids(project)
            left = [item for item in batch if item["task"] in existing]
            if len(left) == len(batch):
                raise
            gone += tuple(item["task"] for item in batch if item["task"] not in existing)
            if left:
                client.import_predictions(project, left)
    return gone


def _next_problem(client: LabelStudioClient, project: int, version: str) -> str:
    task = client.next_task(project)
    if task is None:
        return ""
    queue = str(task.get("queue", ""))
    versions = {item.get("model_version") for item in task.get("predictions", [])}
    # A task that our account holds from an earlier order is served first, rightly. Where people
    # do not see predictions, `next` names none.
    if "Task lock" in queue or ("Active learning" in queue and versions <= {version}):
        return ""
    return (
        f"Label Studio serves task {task.get('id')} from {queue or 'an unknown queue'} with "
        f"versions {sorted(map(str, versions))}, not version {version!r} by score."
    )
