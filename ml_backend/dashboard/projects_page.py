"""What the first page tells of each project: how far it is, and the next thing to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ml_backend.dashboard.measures import MEASURES, quality_of
from ml_backend.dashboard.progress_rows import read_progress
from ml_backend.store.database import Store
from ml_backend.store.figures import kept_figure
from ml_backend.store.tables import Job, Project, Version

COUNTED_ANEW_TO = 20_000
"""Tasks up to which a page counts anew; above, what the last round counted is shown."""
MANY_BROKEN = 0.05
"""Share of images that cannot be used from which on that is the next thing to do."""


@dataclass(frozen=True)
class Step:
    """The next thing to do: a sentence, and where (``label_studio``, a page's name or nothing)."""

    said: str
    where: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Summary:
    """One connected project; `counted_at` is None where its counts are of this moment."""

    project: Project
    counts: dict[str, int]
    counted_at: datetime | None
    champion: Version | None
    quality: tuple[tuple[str, float], ...]
    job: Job | None
    strategy: str
    step: Step
    labelled: int

    @property
    def title(self) -> str:
        """The project's name, or its number where it has none."""
        return self.project.title or f"Project {self.project.id}"

    @property
    def share(self) -> float:
        """Part of the galaxies that have a vote, in [0, 1]."""
        tasks = self.counts["tasks"]
        return min(self.labelled / tasks, 1.0) if tasks else 0.0


def summaries(store: Store) -> list[Summary]:
    """Return all connected projects, by id."""
    works = bool(store.jobs.workers())
    return [summary(store, project, works) for project in store.projects.listing()]


def summary(store: Store, project: Project, works: bool) -> Summary:
    """Return one project as the first page shows it; `works`: a worker runs."""
    counts, at = counts_of(store, project.id)
    with store.reading() as session:
        champion = session.get(Version, project.champion) if project.champion else None
    listed = store.jobs.listing(project.id, 5)
    job = next((one for one in listed if one.state == "running"), None)
    known = [(MEASURES[name], quality_of(champion, name)) for name in MEASURES] if champion else []
    return Summary(
        project=project,
        counts=counts,
        counted_at=at,
        champion=champion,
        quality=tuple((name, value) for name, value in known if value is not None)[:2],
        job=job,
        strategy=str(store.projects.option(project, "strategy")).replace("_", " "),
        step=next_step(project, counts, job, works),
        labelled=_labelled(store, project.id, counts),
    )


def _labelled(store: Store, project_id: int, counts: dict[str, int]) -> int:
    """Return how many galaxies have a vote, as the page Progress counts them.

    Label Studio's own mark says something else in a crowd: it is taken off where one more vote
    is wanted.
    """
    progress, _ = read_progress(store, project_id)
    return counts["labeled"] if progress is None else progress.counts["labelled"]


def counts_of(store: Store, project_id: int) -> tuple[dict[str, int], datetime | None]:
    """Return a project's counts, and when a round counted them (None: now).

    Counting a million tasks takes a second, so pages of large projects show the last round's.
    """
    kept = kept_figure(store, project_id, "counts")
    if kept is not None and kept.data.get("tasks", 0) > COUNTED_ANEW_TO:
        return dict(kept.data), kept.at
    return store.projects.counts(project_id), None


def next_step(project: Project, counts: dict[str, int], job: Job | None, works: bool) -> Step:
    """Return the one thing that a project manager should do next."""
    tasks, left = counts["tasks"], counts["tasks"] - counts["labeled"]
    if not works:
        return Step("Start a worker (galaxyloop work): without one nothing is learnt.", "", True)
    if project.failures:
        return Step("The last round failed. See what went wrong.", "health", True)
    if project.champion is None:
        said = f": {job.message}" if job is not None and job.message else ""
        return Step(
            f"Wait: the first round looks at all images and sets the order{said}.", "health"
        )
    if not tasks:
        return Step("Import images into the project; the next round ranks them.", "label_studio")
    if counts["broken"] > MANY_BROKEN * tasks:
        return Step(f"{counts['broken']} images cannot be used. See why.", "health", True)
    if not left:
        return Step(f"All galaxies are done: galaxyloop export --project {project.id} PATH.", "")
    if not counts["votes"]:
        return Step("Label the first galaxies.", "label_studio")
    return Step(f"Go on labelling: {left} galaxies are open for a vote.", "label_studio")
