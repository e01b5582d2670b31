"""The figure ``learning``: how good the model is, and what it has learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from ml_backend.loop.candidates import Candidate, kept_or_none
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.drafts import champion_of
from ml_backend.loop.plans import head_plans, learned_controls
from ml_backend.loop.random_order import labels_saved, measured_again
from ml_backend.loop.recounting import counted_mark, still_holds
from ml_backend.loop.reliability import confusion_matrices, measured, reliability_diagram
from ml_backend.loop.training import Unseen
from ml_backend.store.figures import kept_figure
from ml_backend.store.tables import Version

if TYPE_CHECKING:
    from ml_backend.loop.figures import FigureContext

MOST_VERSIONS = 300
"""Versions of a curve; of more, evenly chosen ones and the last."""
LEAST_AUDITED = 10
"""Labelled galaxies of random order below which they are not measured on alone."""

_MEASURES = ("accuracy", "macro_auc", "log_loss", "calibration_error", "loss")


def learning_figure(context: FigureContext) -> dict[str, Any]:
    """Measure the published heads, and gather what earlier versions were measured at.

    Returns
    -------
    dict
        ``version``; ``curves``: by control a list of versions with ``votes``, ``at``, ``rows``,
        ``published`` and the figures; ``measured``: by version and control figures with their
        standard errors, on ``all`` unseen answers and on ``audit``; ``controls``: by control
        ``labels``, ``multiple``, ``rows``, ``calibration``, ``confusion``; ``saved`` by control
        (see `random_order`).
    """
    store, project_id = context.store, context.project_id
    kept = kept_figure(store, project_id, "learning")
    before: Mapping[str, Any] = kept.data if kept is not None else {}
    champion = champion_of(store, project_id)
    with store.reading() as session:
        versions = list(
            session.scalars(
                select(Version)
                .where(Version.project_id == project_id, Version.kind.in_(("trained", "tuned")))
                .order_by(Version.number)
            )
        )
    names = [control.name for control in learned_controls(context.config)]
    names += [plan.name for plan in head_plans(context.config)]
    curves = {name: _curve(versions, name) for name in names}
    source = None if champion is None else champion.source or champion.name
    learnt = any(version.name == source for version in versions)
    candidate = kept_or_none(store, champion.name) if champion is not None and learnt else None
    known = {version.name for version in versions}
    told = before.get("measured")
    errors = {n: v for n, v in told.items() if n in known} if isinstance(told, Mapping) else {}
    controls: dict[str, Any] = {}
    saved: dict[str, Any] = {}
    if candidate is not None and source is not None:
        errors[source] = _losses(candidate)
        earlier = before.get("saved")
        for name, votes in context.pool.consensus.items():
            unseen = candidate.unseen.get(name)
            if unseen is None or unseen.labels != votes.labels or not len(votes):
                continue
            found = _as_before(before, source, name, context.pool.votes, context.now)
            if found is None:
                found = _control(context, votes, unseen)
                found[0]["counted"] = counted_mark(context.pool.votes, context.now, source)
            controls[name], errors[source][name] = found
            was = earlier.get(name) if isinstance(earlier, Mapping) else None
            saved[name] = _saved(context, votes, unseen, was)
    return {
        "version": source if candidate is not None else None,
        "curves": curves,
        "measured": errors,
        "controls": controls,
        "saved": saved,
    }


def _as_before(
    before: Mapping[str, Any], source: str, control: str, votes: int, now: datetime
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return what was measured of the same version's control while hardly a vote is new."""
    controls, told = before.get("controls"), before.get("measured")
    shown = controls.get(control) if isinstance(controls, Mapping) else None
    of = told.get(source) if isinstance(told, Mapping) else None
    errors = of.get(control) if isinstance(of, Mapping) else None
    if not isinstance(shown, Mapping) or not isinstance(errors, Mapping):
        return None
    if not still_holds(shown.get("counted"), votes, now, source):
        return None
    return dict(shown), dict(errors)


def _curve(versions: list[Version], control: str) -> list[dict[str, Any]]:
    found = []
    for version in versions:
        figures = (version.quality or {}).get(control)
        if not isinstance(figures, Mapping):
            continue
        values = {
            name: float(figures[name])
            for name in _MEASURES
            if isinstance(figures.get(name), int | float)
        }
        if values:
            found.append(
                {
                    "version": version.name,
                    "at": version.created_at.isoformat(timespec="seconds"),
                    "votes": version.votes,
                    "rows": float(figures.get("rows") or 0),
                    "published": version.published_at is not None,
                    **values,
                }
            )
    if len(found) <= MOST_VERSIONS:
        return found
    chosen = np.unique(np.linspace(0, len(found) - 1, MOST_VERSIONS).round().astype(int))
    return [found[at] for at in chosen]


def _losses(candidate: Candidate) -> dict[str, Any]:
    """Mean losses of heads of plans, with their standard errors."""
    found: dict[str, Any] = {}
    for name, told in candidate.losses.items():
        losses = told.losses.astype(np.float64)
        if len(losses):
            error = float(losses.std(ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else None
            found[name] = {"all": {"rows": len(losses), "loss": [float(losses.mean()), error]}}
    return found


def _control(
    context: FigureContext, votes: Consensus, unseen: Unseen
) -> tuple[dict[str, Any], dict[str, Any]]:
    ids, mine, theirs = np.intersect1d(votes.task_ids, unseen.task_ids, return_indices=True)
    told = unseen.probabilities[theirs].astype(np.float64)
    seed = context.store.settings.seed
    audited = np.isin(ids, np.fromiter(context.pool.audited, np.int64, len(context.pool.audited)))
    errors = {"all": measured(told, votes, mine, seed)} if len(ids) else {}
    if audited.sum() >= LEAST_AUDITED:
        errors["audit"] = measured(told[audited], votes, mine[audited], seed)
    shown = {
        "labels": list(votes.labels),
        "multiple": votes.multiple,
        "rows": len(ids),
        "audited": int(audited.sum()),
        "calibration": reliability_diagram(told, votes, mine),
        "confusion": confusion_matrices(told, votes, mine),
    }
    return shown, errors


def _saved(context: FigureContext, votes: Consensus, unseen: Unseen, was: Any) -> dict[str, Any]:
    earlier = was if isinstance(was, Mapping) else None
    random = len(context.pool.audited)
    if earlier is not None and not measured_again(earlier, len(votes), random):
        # What it takes is no round's every time; the page says how many labels it was measured at.
        return {**earlier, "random_now": random}
    return labels_saved(context.pool, votes, unseen, context.store.settings.seed)
