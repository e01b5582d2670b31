"""Publishing: a version's order is made, kept, and becomes the one that people are served."""

from __future__ import annotations

import time
from typing import Any

from ml_backend.labelstudio.queue import publish
from ml_backend.loop import drafts
from ml_backend.loop.candidates import Candidate, keep
from ml_backend.loop.ordering import OrderOptions, make_order
from ml_backend.loop.work import RoundWork
from ml_backend.store.tables import Version
from ml_backend.store.versions import version_folder, write_predictions


def rank_and_publish(work: RoundWork, version: Version, candidate: Candidate) -> None:
    """Rank the pool by the candidate's heads, keep the order, and publish it.

    Parameters
    ----------
    work : RoundWork
    version : Version
        Its row is there; the files of a trained one are, too.
    candidate : Candidate

    Raises
    ------
    LabelStudioError, StoreError
        The version stays unfinished, and the next round goes on with it.
    """
    folder = version_folder(work.store.folder, version.name)
    with work.timed("rank", 0.7, "Ranking"):
        if version.kind != "trained":
            keep(work.store, version.name, candidate)
        order = make_order(
            version.name,
            work.pool,
            work.config,
            candidate.usable(work.config),
            candidate.committees,
            _options(work),
            cold=version.kind == "cold",
        )
        write_predictions(folder, order.predictions)
        drafts.note(work.store, version.name, on_disk=True, quality=candidate.quality)
        drafts.keep_ranking(work.store, version.name, order.rows)
    publish_ranked(work, version, order.predictions)


def publish_ranked(work: RoundWork, version: Version, predictions: list[dict[str, Any]]) -> None:
    """Bring a version's predictions into Label Studio and switch to it.

    Parameters
    ----------
    work : RoundWork
    version : Version
    predictions : list of dict
        ``task``, ``result`` and ``score``; what is there already is not imported again. None at
        all (everything is labelled): only our own champion changes.

    Raises
    ------
    LabelStudioError
        The published version is as it was.
    """
    problem: str | None = None
    with work.timed("publish", 0.75, f"Publishing {version.name}"):
        if predictions:
            told = publish(work.context.client, work.project_id, version.name, predictions)
            problem = told.problem or None
            work.report.timings["import"] = round(told.import_seconds, 4)
            work.report.timings["switch"] = round(told.switch_seconds, 4)
            if told.refused:
                refused = ", ".join(map(str, told.refused[:5]))
                problem = problem or (
                    f"Label Studio refused {len(told.refused)} predictions (tasks {refused}"
                    "...): they do not fit the labelling configuration."
                )
    drafts.crown(
        work.store,
        version.name,
        work.project_id,
        seconds=round(time.monotonic() - work.began, 3),
        timings=work.report.timings,
        problem=problem,
    )
    work.report.version, work.report.kind = version.name, version.kind
    said = f"Published {version.name} ({version.kind}, {len(predictions)} tasks)."
    work.report.message = " ".join(filter(None, [work.report.message, said, problem or ""]))
    work.context.progress(1.0, said)


def _options(work: RoundWork) -> OrderOptions:
    option = work.store.projects.option
    return OrderOptions(
        strategy=str(option(work.project, "strategy")),
        diversity=bool(option(work.project, "diversity")),
        audit_fraction=float(option(work.project, "audit_fraction")),
        top_k=int(option(work.project, "top_k")),
        seed=work.store.settings.seed,
    )
