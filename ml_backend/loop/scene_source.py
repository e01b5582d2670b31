"""The source of scenes: tasks' images, fetched again for the heads that look at places."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt
import structlog

from ml_backend.errors import FetchError
from ml_backend.loop.encoding import FETCHERS, Fetcher, image_limits
from ml_backend.loop.task_images import made_of, tasks_of
from ml_backend.pictures.addresses import extension_of
from ml_backend.store.database import Store
from ml_backend.store.tables import Task
from models.images import ImageError, read_image
from models.scenes import Scene
from models.vision_encoder import VisionEncoder

MOST_BYTES = 3 * 2**30
"""Memory that scenes held at once may take; what is beyond it is as if it could not be had."""

_log = structlog.get_logger(__name__)


class SceneSource:
    """Makes scenes of a project's tasks.

    Parameters
    ----------
    store : Store
    fetcher : ImageFetcher
    lvm : VisionEncoder
    """

    def __init__(self, store: Store, fetcher: Fetcher, lvm: VisionEncoder) -> None:
        self._store, self._fetcher, self.lvm = store, fetcher, lvm
        self._limits = image_limits(store.settings)
        # Several heads ask about the same tasks; those asked for last stand at the end.
        self._kept: dict[int, Scene] = {}

    def scenes(
        self, task_ids: Sequence[int] | npt.NDArray[np.int64], seconds: float | None = None
    ) -> tuple[list[Scene], npt.NDArray[np.bool_]]:
        """Return the scenes of tasks; those that are still held are not fetched again.

        Parameters
        ----------
        task_ids : int [n]
        seconds : float, optional
            Stop when this much time has passed.

        Returns
        -------
        scenes : list of Scene
            Of those that were had, in order.
        got : bool [n]
            Which these are. Not had are images that are gone, broken, or other than they were
            when they were encoded, and those after the time was up or the memory full.
        """
        ids = [int(task) for task in task_ids]
        tasks = tasks_of(self._store, [task for task in ids if task not in self._kept])
        end = None if seconds is None else time.monotonic() + seconds
        got = np.zeros(len(ids), np.bool_)
        scenes: list[Scene] = []
        held = 0

        def had(task: int) -> Scene | None:
            return self._kept.get(task) or self._scene(tasks.get(task))

        waiting = iter(enumerate(ids))
        with ThreadPoolExecutor(FETCHERS) as readers:
            while part := list(islice(waiting, 2 * FETCHERS)):
                if end is not None and time.monotonic() > end:
                    break
                found = readers.map(had, [task for _, task in part])
                for (place, task), scene in zip(part, list(found), strict=True):
                    if scene is not None and held < MOST_BYTES:
                        held += scene.bytes
                        scenes.append(scene)
                        got[place] = True
                        self._keep(task, scene)
                if held >= MOST_BYTES:
                    _log.warning("scenes_too_large", had=len(scenes), wanted=len(ids))
                    break
        return scenes, got

    def _keep(self, task: int, scene: Scene) -> None:
        """Hold a scene, and let go of those asked for longest ago where the memory is full."""
        self._kept.pop(task, None)
        self._kept[task] = scene
        total = sum(one.bytes for one in self._kept.values())
        while total > MOST_BYTES and len(self._kept) > 1:
            total -= self._kept.pop(next(iter(self._kept))).bytes

    def of_bytes(self, data: bytes, address: str) -> Scene:
        """Return the scene of an image file.

        Raises
        ------
        ImageError
            The file cannot be read, or the LVM cannot see it.
        """
        return Scene.of(read_image(data, self._limits, extension_of(address)), self.lvm)

    def of_address(self, address: str) -> Scene | None:
        """Return the scene at an address, None (and a line in the log) where there is none."""
        try:
            return self.of_bytes(self._fetcher.fetch(address), address)
        except (FetchError, ImageError) as error:
            _log.info("no_scene", reason=str(error))
            return None

    def _scene(self, task: Task | None) -> Scene | None:
        if task is None:
            return None
        return made_of(
            task, self._fetcher.fetch, self._limits, lambda image: Scene.of(image, self.lvm)
        )


class RecentScenes:
    """The scenes that people drew on last; safe to share between threads.

    An annotator asks several times about one image, and only the first time has to wait for it.
    """

    def __init__(self, most: int = 4) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: dict[tuple[str, str], Scene] = {}

    def get(self, source: SceneSource, address: str) -> Scene | None:
        """Return the scene at an address for the LVM of `source`, None where there is none."""
        key = (source.lvm.identity, address)
        with self._lock:
            scene = self._kept.pop(key, None)
        if scene is None and address:
            scene = source.of_address(address)
        if scene is not None:
            with self._lock:
                self._kept[key] = scene
                while len(self._kept) > self._most:
                    del self._kept[next(iter(self._kept))]
        return scene
