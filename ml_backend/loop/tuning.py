"""Tuning: the LVM's last stage learns from a project's labels, beside the rounds.

It takes minutes, so it is a job of its own that no round waits for: it reads votes that rounds
have read, touches no version, and leaves a tuned LVM with the embeddings of all images behind. The
next round judges that one and publishes it or not (see `tuned_rounds`). Killed, it is done again;
what it has encoded by then is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import structlog

from ml_backend.errors import GalaxyLoopError, StoreError
from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.encoding import FETCHERS, encode_missing, image_limits, missing_images
from ml_backend.loop.plans import head_plans, learned_controls
from ml_backend.loop.pool import Pool, load_pool
from ml_backend.loop.project_lvm import lvm_in_use, tuned_lvm
from ml_backend.loop.task_images import made_of, tasks_of
from ml_backend.loop.trial import withheld
from ml_backend.loop.work import RoundContext
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Task, Tuning
from ml_backend.store.tuned_lvms import tuned_folder, write_tuned
from models.finetuning import finetune, frame_for_tuning
from models.frame import Canvas, Frame
from models.heads.base import HeadError
from models.sunet import LVMError
from models.vision_encoder import VisionEncoder

GROWTH = 2
"""Times as many labels as at the last try before the next one."""

RETRY_SECONDS = 3600.0
"""Seconds before a try that failed (a full disk, a server that was down) is taken up again."""

LOST_MOST = 0.05
"""Largest share of images that may not be had again: their galaxies would leave the queue."""

MOST = 4000
"""Most labelled galaxies that tuning learns from; each takes about 0.1 MB of memory."""

_log = structlog.get_logger(__name__)


class _Refusal(Exception):
    """This LVM cannot be tuned to these labels, however often it is tried."""


def wants_tuning(store: Store, project_id: int, base_identity: str, labels: int) -> bool:
    """Tell whether it is time to tune the LVM of the settings to a project.

    Parameters
    ----------
    store : Store
    project_id : int
    base_identity : str
        Of the LVM of the settings.
    labels : int
        Galaxies that have an answer.
    """
    fewest = store.settings.tune_from
    if not fewest or labels < fewest:
        return False
    last = store.tunings.latest(project_id, base_identity)
    if last is None:
        return True
    if last.state == "ready":
        return False  # the next round judges it
    if last.state == "failed" and last.finished_at is not None:
        waited = (datetime.now(UTC) - last.finished_at).total_seconds()
        return waited >= RETRY_SECONDS
    return labels >= GROWTH * last.labels


def tune(context: RoundContext, project_id: int) -> str:
    """Tune the LVM of the settings to a project, and encode the project's images with it.

    Parameters
    ----------
    context : RoundContext
        Label Studio is not asked.
    project_id : int

    Returns
    -------
    str
        What came of it.

    Raises
    ------
    GalaxyLoopError
        It failed for a reason that may pass; it is taken up again after an hour.
    """
    store, base = context.store, context.lvm()
    project = store.projects.get(project_id)
    if project is None:
        raise StoreError(f"Project {project_id} is not connected any more.")
    config = parse_controls(project.label_config)
    used = lvm_in_use(store, project_id, base).lvm
    pool = load_pool(store, project_id, config, store.embeddings(used.identity, used.dimension))
    labels = int(pool.is_voted.sum())
    last = store.tunings.latest(project_id, base.identity)
    begun = last is not None and last.state in ("running", "failed")
    if not store.settings.tune_from:
        return "Tuning is switched off (GALAXYLOOP_TUNE_FROM is 0)."
    if not begun and not wants_tuning(store, project_id, base.identity, labels):
        return "There is nothing to tune: not enough labels have come since the last time."
    row = store.tunings.begin(project_id, base.identity, labels)
    try:
        votes = _only_control(project, pool)
        tuned = _made_before(store, row, base)
        if tuned is None:
            tuned, said = _tuned(context, row, base, pool, votes)
            store.tunings.note(row.id, lvm_identity=tuned.identity, reason=said)
        _encode(context, project_id, tuned, pool)
    except _Refusal as refusal:
        store.tunings.note(row.id, state="refused", reason=str(refusal))
        return str(refusal)
    except GalaxyLoopError as error:
        store.tunings.note(row.id, state="failed", reason=str(error))
        raise
    store.tunings.note(row.id, state="ready")
    return f"The LVM was tuned to {labels} labelled galaxies; the next round judges it."


def _only_control(project: Project, pool: Pool) -> Consensus:
    config = parse_controls(project.label_config)
    controls, others = learned_controls(config), len(head_plans(config))
    if len(controls) != 1 or others:
        raise _Refusal(
            f"The LVM stays as it is: tuning serves one list of choices, and this project asks "
            f"{len(controls) + others} questions."
        )
    votes = pool.consensus[controls[0].name]
    return votes.rows(pool.rows_of(votes.task_ids)[1])


def _made_before(store: Store, row: Tuning, base: VisionEncoder) -> VisionEncoder | None:
    """Return the LVM that an interrupted try has made already."""
    if row.lvm_identity is None:
        return None
    try:
        return tuned_lvm(store, row.project_id, row.lvm_identity, base).lvm
    except StoreError as error:
        _log.warning("tuned_again", project=row.project_id, reason=str(error))
        return None


def _tuned(
    context: RoundContext, row: Tuning, base: VisionEncoder, pool: Pool, votes: Consensus
) -> tuple[VisionEncoder, str]:
    """Tune, and keep what came of it."""
    store, seed = context.store, context.store.settings.seed
    try:
        frame = frame_for_tuning(base)
        chosen, tasks = _shown(store, votes, seed)
        canvases, got = _canvases(context, tasks, frame)
        shown = votes.rows(np.isin(votes.task_ids, chosen[got]))
        made = finetune(
            base,
            canvases,
            shown.targets,
            shown.weights,
            exclusive=not shown.multiple,
            seed=seed,
            progress=lambda share, said: context.progress(0.1 + 0.5 * share, said),
        )
    except (LVMError, HeadError, FloatingPointError) as error:
        raise _Refusal(f"The LVM stays as it is. {error}") from error
    if made.lvm is None:
        raise _Refusal(f"The LVM stays as it is. {made.reason}")
    folder = tuned_folder(store.folder, row.project_id, made.lvm.identity)
    seen = {task.content_hash or "" for task, there in zip(tasks, got, strict=True) if there}
    write_tuned(folder, made.lvm, base.identity, seen)
    return made.lvm, made.reason


def _shown(store: Store, votes: Consensus, seed: int) -> tuple[npt.NDArray[np.int64], list[Task]]:
    """Return the labelled tasks that tuning may see, by number."""
    kept = votes.task_ids[withheld(votes.task_ids, seed)]
    usable = votes.weights > 0
    if not votes.multiple:
        usable &= np.abs(votes.targets.sum(axis=1) - 1) < 1e-3
    tasks = tasks_of(store, votes.task_ids.tolist())
    # An image that was imported twice would tell: its twin is kept from tuning, too.
    hidden = {tasks[int(number)].content_hash for number in kept if int(number) in tasks}
    free = [
        int(number)
        for number in votes.task_ids[usable]
        if int(number) in tasks and tasks[int(number)].content_hash not in hidden
    ]
    rng = np.random.default_rng([seed, 8])
    chosen = np.sort(rng.permutation(np.array(free, np.int64))[:MOST])
    return chosen, [tasks[int(number)] for number in chosen]


def _canvases(
    context: RoundContext, tasks: Sequence[Task], frame: Frame
) -> tuple[Canvas, npt.NDArray[np.bool_]]:
    """Fetch the labelled images once more; return their canvases, and which were to be had."""
    limits = image_limits(context.store.settings)

    def draw(task: Task) -> Canvas | None:
        return made_of(task, context.fetcher.fetch, limits, frame.draw)

    canvases = np.zeros((len(tasks), frame.side, frame.side, 3), np.uint8)
    got = np.zeros(len(tasks), np.bool_)
    done = 0
    with ThreadPoolExecutor(FETCHERS) as readers:
        for part in _parts(tasks, 4 * FETCHERS):
            for canvas in readers.map(draw, part):
                if canvas is not None:
                    canvases[done], got[done] = canvas, True
                done += 1
            share = done / len(tasks)
            context.progress(0.1 * share, f"Read {done} of {len(tasks)} labelled images")
    _check_lost(len(got) - int(got.sum()), len(got), "labelled ")
    if not got.any():
        raise HeadError("No labelled galaxy is left for tuning.")
    return canvases if got.all() else canvases[got], got


def _parts(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def _encode(context: RoundContext, project_id: int, tuned: VisionEncoder, pool: Pool) -> None:
    """Encode the project's images with the tuned LVM; nothing of the tasks is changed."""
    store = context.store
    embeddings = store.embeddings(tuned.identity, tuned.dimension)
    known = set(pool.task_ids.tolist())
    missing = missing_images(store, project_id, embeddings, retry_after=0)
    images = [image for image in missing if image.task_id in known]
    report = encode_missing(
        store,
        context.fetcher,
        tuned,
        images,
        lambda done, total: context.progress(
            0.6 + 0.4 * done / total, f"Encoded {done} of {total} images with the tuned LVM"
        ),
        note=False,
    )
    _check_lost(report.broken, len(known), "")


def _check_lost(lost: int, count: int, which: str) -> None:
    if lost > LOST_MOST * count:
        raise StoreError(
            f"The LVM was not tuned: {lost} of {count} {which}images cannot be had again, and "
            "their galaxies would leave the queue. Check where they come from; it is tried again "
            "after an hour."
        )
