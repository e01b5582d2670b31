"""Predictions: what the champion says of tasks, as Label Studio takes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from sqlalchemy import select

from ml_backend.errors import GalaxyLoopError, StoreError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.loop.annotations import main_field
from ml_backend.loop.encoding import (
    Fetcher,
    ImageJob,
    encode,
    image_limits,
    load_lvm,
    record,
)
from ml_backend.loop.interactive import object_under, prompt_of
from ml_backend.loop.plans import usable_heads
from ml_backend.loop.project_lvm import tuned_lvm
from ml_backend.loop.queue_scores import BLIND_ARMS, LAST, unranked_scores
from ml_backend.loop.scene_source import RecentScenes, SceneSource
from ml_backend.loop.suggestions import Look, suggested
from ml_backend.store.database import Store
from ml_backend.store.embeddings import EmbeddingStore, Rows
from ml_backend.store.names import initial_version
from ml_backend.store.tables import Project, Ranking, Task, Version
from ml_backend.store.versions import load_heads, version_folder
from models.heads.base import Head
from models.scenes import Scene
from models.vision_encoder import VisionEncoder

DEADLINE_SECONDS = 30.0
"""Longest time that one call may spend on images that were never encoded."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Champion:
    version: str
    config: LabelConfig
    heads: dict[str, Head]
    scores: dict[int, float]
    held_back: frozenset[int]
    lvm_identity: str


class Predictor:
    """Predicts for one project; safe to share between threads.

    Parameters
    ----------
    store : Store
    project_id : int
    fetcher : ImageFetcher, optional
        By default one that follows the settings, made when it is first needed.
    lvm : callable, optional
        Returns the LVM of the settings, for images that were never encoded.
    deadline : float
        Seconds that one call may spend on such images.
    """

    def __init__(
        self,
        store: Store,
        project_id: int,
        fetcher: Fetcher | None = None,
        lvm: Callable[[], VisionEncoder] | None = None,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._store, self._project_id, self._deadline = store, project_id, deadline
        self._fetcher = fetcher
        self._lvm = lvm or (lambda: load_lvm(store.settings))
        self._lock = threading.Lock()
        self._champion: _Champion | None = None
        self._config: tuple[str, LabelConfig] | None = None
        self._recent = RecentScenes()

    def warm_up(self) -> None:
        """Load the champion's heads and embeddings ahead of the first request."""
        champion = self._current()
        if champion is not None:
            self._embeddings(champion)

    def predict(self, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict for tasks as Label Studio sends them.

        Parameters
        ----------
        tasks : sequence of mapping
            With ``id`` and ``data``.

        Returns
        -------
        list of dict
            One ``{"model_version", "score", "result"}`` per task, in order; the score is finite
            and in [0, 1]. The result is empty where the image cannot be used (the reason is kept
            on the task), where the deadline passed, and where there is no version yet.
        """
        champion = self._current()
        if champion is None:
            version = initial_version(self._project_id)
            return [{"model_version": version, "score": LAST, "result": []} for _ in tasks]
        rows, found = self._rows(champion, tasks)
        known = np.flatnonzero(found)
        answers = suggested(
            champion.config, champion.heads, rows[known], self._look(champion, tasks, known)
        )
        scores = unranked_scores(champion.heads, rows[known])
        predictions: list[dict[str, Any]] = [
            {"model_version": champion.version, "score": LAST, "result": []} for _ in tasks
        ]
        for place, answer, score in zip(known, answers, scores, strict=True):
            task_id = _task_id(tasks[place])
            predictions[place]["result"] = [] if task_id in champion.held_back else answer.result
            predictions[place]["score"] = champion.scores.get(task_id, score)
        return predictions

    def interact(self, task: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
        """Answer what an annotator has just drawn with the object under it.

        It works before the first version, too: then the object is found by its light alone.

        Parameters
        ----------
        task : mapping
            With ``id`` and ``data``.
        context : mapping
            As the editor sends it, with the drawn regions in ``result``; nothing in it makes this
            fail.

        Returns
        -------
        dict
            ``{"model_version", "score", "result"}``; no region where nothing was drawn, where the
            configuration has no tag to answer with, and where the image cannot be used.
        """
        champion, config = self._current(), self._read_config()
        version = champion.version if champion else initial_version(self._project_id)
        made: dict[str, Any] = {"model_version": version, "score": LAST, "result": []}
        prompt = prompt_of(context, config) if config is not None else None
        if config is None or prompt is None:
            return made
        lvm = self._lvm() if champion is None else self._lvm_of(champion)
        heads = champion.heads if champion is not None and lvm is not None else {}
        source = SceneSource(self._store, self._fetcher or self._make_fetcher(), lvm or self._lvm())
        scene = self._recent.get(source, _address(task, main_field(config)))
        if scene is not None:
            made["result"] = object_under(config, prompt, scene, heads)
        return made

    def _read_config(self) -> LabelConfig | None:
        with self._store.reading() as session:
            text = session.scalar(
                select(Project.label_config).where(Project.id == self._project_id)
            )
        with self._lock:
            if text and (self._config is None or self._config[0] != text):
                self._config = text, parse_controls(text)
                self._champion = None
            return self._config[1] if text and self._config else None

    def _look(
        self, champion: _Champion, tasks: Sequence[Mapping[str, Any]], known: npt.NDArray[Any]
    ) -> Look:
        """Return what makes scenes of the known tasks, as far as the deadline allows."""
        end = time.monotonic() + self._deadline
        image = main_field(champion.config)

        def look(places: npt.NDArray[np.int64]) -> tuple[list[Scene], npt.NDArray[np.bool_]]:
            scenes: list[Scene] = []
            got = np.zeros(len(places), np.bool_)
            lvm = self._lvm_of(champion)
            if lvm is None:
                return scenes, got
            fetcher = self._fetcher or self._make_fetcher()
            source = SceneSource(self._store, fetcher, lvm)
            for number, place in enumerate(places):
                if time.monotonic() > end:
                    break
                scene = source.of_address(_address(tasks[known[place]], image))
                if scene is not None:
                    scenes.append(scene)
                    got[number] = True
            return scenes, got

        return look

    def _lvm_of(self, champion: _Champion) -> VisionEncoder | None:
        """Return the LVM of a version; None where it is not in use any more."""
        lvm = self._lvm()
        if lvm.identity == champion.lvm_identity:
            return lvm
        if self._store.tunings.of_lvm(self._project_id, champion.lvm_identity) is None:
            return None  # the LVM was changed: the next round encodes anew, trains new heads
        return tuned_lvm(self._store, self._project_id, champion.lvm_identity, lvm).lvm

    def _current(self) -> _Champion | None:
        """Return the champion, loaded again when it or the configuration has changed."""
        # Two columns, not the object: this is asked for every request.
        columns = select(Project.champion, Project.label_config)
        with self._store.reading() as session:
            project = session.execute(columns.where(Project.id == self._project_id)).first()
        if project is None or not project.champion:
            return None
        with self._lock:
            if self._config is None or self._config[0] != project.label_config:
                self._config = project.label_config, parse_controls(project.label_config)
                self._champion = None
            if self._champion is None or self._champion.version != project.champion:
                self._champion = self._load(project.champion, self._config[1])
            return self._champion

    def _load(self, name: str, config: LabelConfig) -> _Champion:
        with self._store.reading() as session:
            version = session.get(Version, name)
            ranking = session.execute(
                select(Ranking.task_id, Ranking.score, Ranking.arm).where(Ranking.version == name)
            ).all()
        try:
            heads = usable_heads(load_heads(version_folder(self._store.folder, name)), config)
        except StoreError as error:
            _log.error("version_broken", version=name, reason=str(error))
            heads = {}  # people go on without suggestions; the next round trains anew
        identity = version.lvm_identity if version else ""
        project = self._store.projects.get(self._project_id)
        held_back: frozenset[int] = frozenset()
        if project is not None and self._store.projects.option(project, "blind_audit"):
            held_back = frozenset(row.task_id for row in ranking if row.arm in BLIND_ARMS)
        scores = {row.task_id: row.score for row in ranking}
        return _Champion(name, config, heads, scores, held_back, identity)

    def _embeddings(self, champion: _Champion) -> EmbeddingStore:
        return self._store.embeddings(champion.lvm_identity)

    def _rows(
        self, champion: _Champion, tasks: Sequence[Mapping[str, Any]]
    ) -> tuple[Rows, npt.NDArray[np.bool_]]:
        ids = [_task_id(task) for task in tasks]
        with self._store.reading() as session:
            stored = {
                row.id: row
                for row in session.execute(
                    select(Task.id, Task.image, Task.content_hash, Task.problem).where(
                        Task.id.in_(set(ids))
                    )
                )
            }
        embeddings = self._embeddings(champion)
        addresses = [_address(task, main_field(champion.config)) for task in tasks]
        hashes: list[str | None] = []
        for task_id, address in zip(ids, addresses, strict=True):
            row = stored.get(task_id)
            same = row is not None and (not address or row.image == address)
            hashes.append(row.content_hash if row is not None and same else None)
        rows = np.zeros((len(tasks), embeddings.dimension), np.float16)
        found = np.zeros(len(tasks), np.bool_)
        known = [place for place, digest in enumerate(hashes) if digest]
        if known:
            kept, there = embeddings.get([hashes[place] or "" for place in known])
            rows[known], found[known] = kept, there
        wanted = [
            place
            for place in np.flatnonzero(~found)
            if addresses[place] and not _broken(stored.get(ids[place]), addresses[place])
        ]
        if wanted and champion.heads:
            self._encode(champion, embeddings, wanted, ids, addresses, rows, found)
        return rows, found

    def _encode(
        self,
        champion: _Champion,
        embeddings: EmbeddingStore,
        wanted: Sequence[int],
        ids: Sequence[int],
        addresses: Sequence[str],
        rows: Rows,
        found: npt.NDArray[np.bool_],
    ) -> None:
        """Encode the wanted images now, as far as the deadline allows; the worker does the rest."""
        end = time.monotonic() + self._deadline
        try:
            lvm = self._lvm_of(champion)
            if lvm is None:
                return
            fetcher = self._fetcher or self._make_fetcher()
            jobs = [ImageJob(ids[place], addresses[place]) for place in wanted]
            done = 0
            for batch in encode(jobs, fetcher, lvm, embeddings, image_limits(self._store.settings)):
                record(self._store, embeddings, batch)
                for item, place in zip(batch, wanted[done : done + len(batch)], strict=True):
                    if item.content_hash:
                        kept, there = embeddings.get([item.content_hash])
                        rows[place], found[place] = kept[0], there[0]
                done += len(batch)
                if time.monotonic() > end:
                    _log.warning("deadline", project=self._project_id, left=len(wanted) - done)
                    return
        except GalaxyLoopError as error:
            _log.warning("encoding_failed", project=self._project_id, reason=str(error))

    def _make_fetcher(self) -> Fetcher:
        settings = self._store.settings
        with self._lock:
            if self._fetcher is None:
                client = LabelStudioClient.from_settings(settings)
                pictures = self._store.picture_addresses()
                self._fetcher = ImageFetcher(settings, client, pictures)
            return self._fetcher


def _task_id(task: Mapping[str, Any]) -> int:
    value = task.get("id")
    return value if isinstance(value, int) else -1


def _address(task: Mapping[str, Any], field: str) -> str:
    data = task.get("data")
    value = data.get(field) if isinstance(data, Mapping) else None
    return value if isinstance(value, str) else ""


def _broken(row: Any, address: str) -> bool:
    """Tell whether this very image is known not to be usable; the worker tries it again."""
    return row is not None and row.problem is not None and row.image == address
