"""What is known of a project's galaxies: people's votes and the model's answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.frames import Frames, frame_facts
from ml_backend.catalogue.objects import Objects
from ml_backend.catalogue.quantities import Quantity
from ml_backend.catalogue.said import Said, gather_said
from ml_backend.errors import GalaxyLoopError, StoreError
from ml_backend.labelstudio.config import (
    ChoicesControl,
    LabelConfig,
    NumberControl,
    parse_controls,
)
from ml_backend.loop.consensus import Consensus, consensus
from ml_backend.loop.counting_votes import cast_votes, counting_votes, known_answers
from ml_backend.loop.drafts import champion_of
from ml_backend.loop.plans import head_plans, learned_controls, usable_heads
from ml_backend.loop.pool import Pool, load_pool
from ml_backend.store.database import Store
from ml_backend.store.tables import Version
from ml_backend.store.versions import load_heads, version_folder
from models.heads.vote_fractions import VoteFractions

_PART = 10_000
LONGEST_ID = 200

Floats = npt.NDArray[np.float32]
Marks = npt.NDArray[np.bool_]


class ListingClient(Protocol):
    """What is asked of Label Studio (a part of its client)."""

    def tasks(
        self, project: int, *, page_size: int, annotations: bool
    ) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True)
class Votes:
    """People's answers to one control, a row per galaxy.

    Attributes
    ----------
    count : int32 [n]
        People who answered.
    fractions : float32 [n, k]
        Of them, who named each label; NaN where nobody answered.
    posterior : float32 [n, k] or None
        Probability of each label given the votes and what is known of the people; NaN where
        nobody answered. None where people's reliability cannot be told.
    """

    count: npt.NDArray[np.int32]
    fractions: Floats
    posterior: Floats | None = None


@dataclass(frozen=True)
class Answers:
    """The model's answers to one control, a row per galaxy.

    Attributes
    ----------
    known : bool [n]
        Whether there is an answer.
    probabilities : float32 [n, k]
        Calibrated; NaN where there is none.
    """

    known: Marks
    probabilities: Floats


@dataclass
class Results:
    """All that is known of the galaxies of a project.

    Attributes
    ----------
    ids : list of str
        As the tasks name them; the number of the task where they name none.
    task_ids : int64 [n]
    ra, dec : float64 [n]
        Degrees; NaN where the task holds no position.
    drawn_at_random : bool [n]
        The galaxy has votes and was chosen by no model: it is of the sample to measure rates on.
    config : LabelConfig
    votes, answers : dict
        By control; every control has votes (perhaps none), only those with a head have answers.
    version : str
        Name of the version that the answers are of; "" if there is none.
    lvm : str
        Identity of the LVM.
    title : str
        Of the project.
    votes_read_at : datetime or None
        When the votes were last read from Label Studio.
    notes : list of str
        What a person should know.
    said : dict
        By control, for controls whose answers are more than labels.
    frames : Frames
        Of the pictures, by row.
    quantities : dict
        By control: what its numbers measure, as far as the user tells.
    """

    ids: list[str]
    task_ids: npt.NDArray[np.int64]
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]
    drawn_at_random: Marks
    config: LabelConfig
    votes: dict[str, Votes]
    answers: dict[str, Answers]
    version: str = ""
    lvm: str = ""
    title: str = ""
    votes_read_at: datetime | None = None
    notes: list[str] = field(default_factory=list)
    said: dict[str, Said] = field(default_factory=dict)
    frames: Frames = field(default_factory=Frames)
    quantities: dict[str, Quantity] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def objects(self) -> Objects:
        """What was marked on the pictures."""
        return Objects(self.said, self.frames)

    def tell(self, quantities: dict[str, Quantity]) -> list[str]:
        """Take in what numbers measure; return what a person should know of it."""
        numbers = {c.name for c in self.config.answered if isinstance(c, NumberControl)}
        self.quantities = quantities
        unknown = sorted(set(quantities) - numbers)
        return [f"The project asks for no number called {name!r}." for name in unknown]


def gather_results(client: ListingClient, store: Store, project_id: int) -> Results:
    """Gather what is known of every task that Label Studio lists, in the order of their numbers.

    Votes are those that the worker has last read; nothing is changed.

    Raises
    ------
    LabelStudioError
        Label Studio does not list its tasks.
    StoreError
        The project is not connected.
    """
    project = store.projects.get(project_id)
    if project is None:
        raise StoreError(
            f"Project {project_id} is not connected. Run `galaxyloop connect --project "
            f"{project_id}`."
        )
    config = parse_controls(project.label_config)
    ids: list[str] = []
    numbers: list[int] = []
    places: list[tuple[float, float]] = []
    facts: list[dict[str, Any]] = []
    for task in client.tasks(project_id, page_size=500, annotations=False):
        data = task.get("data")
        data = data if isinstance(data, dict) else {}
        numbers.append(task["id"])
        ids.append(_id(data, task["id"]))
        places.append(_place(data))
        facts.append(frame_facts(data))
    task_ids = np.array(numbers, np.int64)
    with store.reading() as session:
        golds, sources = known_answers(session, project_id)
        given = cast_votes(counting_votes(session, project_id, config.controls), sources)
    agreed = consensus(given, config.controls, golds)
    sky = np.array(places, np.float64).reshape(-1, 2)
    results = Results(
        ids,
        task_ids,
        sky[:, 0],
        sky[:, 1],
        np.zeros(len(ids), np.bool_),
        config,
        {name: _votes(counted, task_ids) for name, counted in agreed.items()},
        {},
        title=project.title,
        votes_read_at=project.reconciled_at,
        frames=Frames(facts),
    )
    version = champion_of(store, project_id)
    rows = {int(number): row for row, number in enumerate(task_ids)}
    results.said = gather_said(store, project_id, config, rows, version.name if version else "")
    if version is None:
        results.notes.append("No model version is published yet, so there are no answers of one.")
    else:
        _add_answers(results, store, project_id, version)
    return results


def _add_answers(results: Results, store: Store, project_id: int, version: Version) -> None:
    try:
        heads = load_heads(version_folder(store.folder, version.name))
        pool = load_pool(store, project_id, results.config, store.embeddings(version.lvm_identity))
    except GalaxyLoopError as error:
        results.notes.append(f"There are no answers of a model: {error}")
        return
    results.version, results.lvm = version.name, version.lvm_identity
    results.drawn_at_random[:] = np.isin(results.task_ids, list(pool.audited))
    rows, known = pool.rows_of(results.task_ids)
    asked = _asked_of(results.config)
    for name, head in usable_heads(heads, results.config).items():
        # What heads say of scenes, or beyond labels, is kept with the queue (`gather_said`).
        if head.sees != "embedding" or not asked[name]:
            continue
        tables = {
            control.name: np.full((len(results), len(control.labels)), np.nan, np.float32)
            for control in asked[name]
        }
        for part in _parts(known):
            told = head.predict(_embeddings(pool, rows[part]))
            for control, table in tables.items():
                table[part] = told.of(control) if isinstance(told, VoteFractions) else told
        results.answers |= {control: Answers(known, table) for control, table in tables.items()}


def _asked_of(config: LabelConfig) -> dict[str, list[ChoicesControl]]:
    """Return the lists of choices that each head answers."""
    own = {control.name: [control] for control in learned_controls(config)}
    return own | {
        plan.name: [c for c in plan.controls if isinstance(c, ChoicesControl)]
        for plan in head_plans(config)
    }


def _parts(known: Marks) -> Iterator[npt.NDArray[np.int64]]:
    places = np.flatnonzero(known)
    for start in range(0, len(places), _PART):
        yield places[start : start + _PART]


def _embeddings(pool: Pool, rows: npt.NDArray[np.int64]) -> Floats:
    return np.asarray(pool.embeddings[rows], np.float32)


def _votes(counted: Consensus, task_ids: npt.NDArray[np.int64]) -> Votes:
    count = np.zeros(len(task_ids), np.int32)
    fractions = np.full((len(task_ids), len(counted.labels)), np.nan, np.float32)
    posterior = fractions.copy()
    if len(counted):
        at = np.searchsorted(counted.task_ids, task_ids).clip(0, len(counted) - 1)
        there = counted.task_ids[at] == task_ids
        count[there] = np.round(counted.answered[at[there]]).astype(np.int32)
        fractions[there] = counted.fractions[at[there]]
        posterior[there] = counted.targets[at[there]]
    return Votes(count, fractions, posterior if counted.crowd is not None else None)


def _id(data: dict[str, Any], number: int) -> str:
    value = data.get("id")
    if isinstance(value, str | int) and not isinstance(value, bool):
        return clean_text(str(value), LONGEST_ID) or str(number)
    return str(number)


def _place(data: dict[str, Any]) -> tuple[float, float]:
    """Return ra and dec of a task; NaN where they are none, whatever stands there."""
    values = []
    for key, low, high in (("ra", 0.0, 360.0), ("dec", -90.0, 90.0)):
        value = data.get(key)
        if isinstance(value, str) and len(value) < 40:
            try:
                value = float(value)
            except ValueError:
                value = None
        good = isinstance(value, int | float) and not isinstance(value, bool)
        values.append(float(value) if good and low <= value <= high else np.nan)  # type: ignore
    return (values[0], values[1]) if np.isfinite(values).all() else (np.nan, np.nan)
