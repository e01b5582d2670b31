"""Publishing: a version's order is made, kept, and becomes the one that people are served."""

from __future__ import annotations

import time
from typing import Any

from ml_backend.errors import StoreError
from ml_backend.labelstudio.queue import publish
from ml_backend.loop import drafts
from ml_backend.loop.candidates import Candidate, keep, unseen_by_champion
from ml_backend.loop.demand import demand_of
from ml_backend.loop.golds import golds_to_serve
from ml_backend.loop.ordering import OrderOptions, make_order
from ml_backend.loop.settling import Settled, settle
from ml_backend.loop.work import RoundWork
from ml_backend.store.tables import Version
from ml_backend.store.versions import load_predictions, version_folder, write_predictions


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
        if version.kind not in ("trained", "tuned"):
            keep(work.store, version.name, candidate)
        settled = judge_votes(work, candidate)
        demand = demand_of(work.store, work.project_id, work.pool, settled, work.crowded)
        order = make_order(
            version.name,
            work.pool,
            work.config,
            candidate.usable(work.config),
            candidate.committees,
            _options(work),
            cold=version.kind == "cold",
            scenes=work.scenes(),
            demand=demand,
            golds=golds_to_serve(work.store, work.project_id, work.store.settings.seed),
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
    problem = _publish(work, version, predictions)
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


def restore_order(work: RoundWork, champion: Version) -> bool:
    """Publish the champion's kept order again where Label Studio has lost it.

    People may delete predictions there, choose another model version, or bring an older backup
    back; without the champion's predictions tasks are served at random.

    Returns
    -------
    bool
        Whether something was lost.

    Raises
    ------
    LabelStudioError
        Label Studio failed.
    StoreError
        The order was lost, and its file cannot be read: rank anew.
    """
    client, project_id = work.context.client, work.project_id
    count = client.model_versions(project_id).get(champion.name, 0)
    known = set(work.pool.task_ids.tolist())
    wanted = drafts.ranked_tasks(work.store, champion.name) & known
    # Where something was wrong when it was published, some of it may never have been there.
    whole = count > 0 if champion.problem else count >= len(wanted)
    current = client.project(project_id).get("model_version") == champion.name
    if not wanted or (whole and current):
        return False
    predictions = load_predictions(version_folder(work.store.folder, champion.name))
    left = [item for item in predictions or () if item["task"] in known]
    if not left:
        raise StoreError(f"The order of {champion.name} is not kept.")
    problem = _publish(work, champion, left)
    drafts.note(work.store, champion.name, problem=problem, in_label_studio=True)
    work.report.version, work.report.kind = champion.name, champion.kind
    said = f"Published {champion.name} again: Label Studio did not have its order any more."
    work.report.message = " ".join(filter(None, [work.report.message, said, problem or ""]))
    return True


def _publish(work: RoundWork, version: Version, predictions: list[dict[str, Any]]) -> str | None:
    """Bring predictions into Label Studio and switch to them; return what is wrong with them."""
    with work.timed("publish", 0.75, f"Publishing {version.name}"):
        if not predictions:
            return None
        told = publish(work.context.client, work.project_id, version.name, predictions)
        work.report.timings["import"] = round(told.import_seconds, 4)
        work.report.timings["switch"] = round(told.switch_seconds, 4)
    if told.problem or not told.refused:
        return told.problem or None
    refused = ", ".join(map(str, told.refused[:5]))
    return (
        f"Label Studio refused {len(told.refused)} predictions (tasks {refused}...): they do not "
        "fit the labelling configuration."
    )


def judge_votes(work: RoundWork, candidate: Candidate) -> Settled:
    """Judge what has votes, the candidate being heard as a witness, and keep the verdicts."""
    with work.timed("settle", 0.68, "Judging which galaxies have votes enough"):
        # Also a champion, whose votes are older, says what it thinks of the new ones.
        unseen = unseen_by_champion(candidate, work.pool)
        settled = settle(
            work.store, work.project_id, work.config, work.pool.counted, unseen, work.rule
        )
    work.judged = True
    return settled


def _options(work: RoundWork) -> OrderOptions:
    option = work.store.projects.option
    return OrderOptions(
        strategy=str(option(work.project, "strategy")),
        diversity=bool(option(work.project, "diversity")),
        audit_fraction=float(option(work.project, "audit_fraction")),
        explore=float(option(work.project, "explore")),
        top_k=int(option(work.project, "top_k")),
        seed=work.store.settings.seed,
        gold_fraction=work.gold_fraction,
        blind_audit=bool(option(work.project, "blind_audit")),
    )
