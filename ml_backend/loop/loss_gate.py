"""The gate for heads of plans: not worse on answers that neither version saw."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.loop.gate import LEAST_AUDITED, LEAST_COMPARED, TOLERANCE, GateDecision
from ml_backend.loop.learning import Learned, UnseenLosses


def compare_losses(
    learned: Mapping[str, Learned],
    decision: GateDecision,
    audit: Collection[int] = (),
    left_out: NDArray[np.int64] | None = None,
) -> GateDecision:
    """Add the heads of plans to what the gate has decided.

    The losses of unlike heads have no common scale, so each is judged alone, by the rule of
    `gate.compare`: a version is refused if the mean loss of one head is larger than that of the
    champion's by more than two standard errors of the paired difference, on all tasks that both
    can be judged on or, once 30 of them are labelled, on the audit arm alone.

    Parameters
    ----------
    learned : mapping of plan to Learned
    decision : GateDecision
        On the lists of choices.
    audit : collection of int
        Tasks that were served at random.
    left_out : int64, optional
        Tasks that neither version is judged on.
    """
    said, worse, figures = [], [], {}
    for name, one in learned.items():
        if one.kept or one.before is None:
            continue
        ids, pairs = _paired(one.before, one.unseen, left_out)
        if len(ids) < LEAST_COMPARED:
            continue
        arms: dict[str, NDArray[np.bool_]] = {"all": np.ones(len(ids), np.bool_)}
        of_audit = np.isin(ids, np.fromiter(audit, np.int64, count=len(audit)))
        if of_audit.sum() >= LEAST_AUDITED:
            arms["audit"] = of_audit
        figures[name] = {arm: _difference(pairs[kept]) for arm, kept in arms.items()}
        whole = figures[name]["all"]
        said.append(
            f"'{name}' loss {whole['challenger_loss']:.3f} against {whole['champion_loss']:.3f}, "
            f"difference {whole['difference']:+.3f} ± {whole['standard_error']:.3f}"
        )
        if any(f["difference"] > TOLERANCE * f["standard_error"] for f in figures[name].values()):
            worse.append(f"'{name}'")
    if not figures:
        return decision
    told = "; ".join(said)
    every = decision.figures | {"losses": figures}
    if worse and decision.promote:
        return GateDecision(False, f"Not promoted, worse on {' and '.join(worse)}: {told}.", every)
    return GateDecision(decision.promote, f"{decision.reason} {told}.", every)


def _paired(
    before: UnseenLosses, after: UnseenLosses, left_out: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    ids, mine, theirs = np.intersect1d(after.task_ids, before.task_ids, return_indices=True)
    pairs = np.stack([before.losses[theirs], after.losses[mine]], axis=1).astype(np.float64)
    if left_out is not None and len(left_out):
        judged = ~np.isin(ids, left_out)
        ids, pairs = ids[judged], pairs[judged]
    return ids, pairs


def _difference(pairs: NDArray[np.float64]) -> dict[str, Any]:
    difference = pairs[:, 1] - pairs[:, 0]
    return {
        "rows": float(len(pairs)),
        "champion_loss": float(pairs[:, 0].mean()),
        "challenger_loss": float(pairs[:, 1].mean()),
        "difference": float(difference.mean()),
        "standard_error": float(difference.std(ddof=1) / np.sqrt(len(pairs))),
    }
