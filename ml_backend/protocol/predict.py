"""``POST /predict``: one prediction per task, in order, always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import structlog
from flask import Blueprint, request

from ml_backend.protocol.admission import Admission
from ml_backend.protocol.payloads import (
    PredictRequest,
    parse,
    predictions_answer,
    project_number,
    read_json,
)
from ml_backend.protocol.problems import Problem
from ml_backend.protocol.setup import current_version
from ml_backend.settings import Settings
from ml_backend.store.database import Store

log = structlog.get_logger(__name__)

# Where nothing is known of a task it goes to the end of Label Studio's queue (ascending scores).
UNKNOWN_SCORE = 1.0


class Predicts(Protocol):
    """What makes the predictions of one project (`ml_backend.loop.prediction.Predictor`)."""

    def predict(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return ``{"model_version", "score", "result"}`` per task, in order."""
        ...

    def interact(self, task: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        """Return the prediction that answers what an annotator has just drawn."""
        ...


def create_predict(
    settings: Settings, store: Store, predictor_of: Callable[[int], Predicts]
) -> Blueprint:
    """Return the blueprint of ``/predict``.

    Parameters
    ----------
    settings : Settings
        Limits: tasks per request, requests at once.
    store : Store
        Tells connected projects.
    predictor_of : callable
        Project id to what predicts for it; called for connected projects only.
    """
    blueprint = Blueprint("predict", __name__)
    admission = Admission(settings.max_predict_requests, "predictions")

    @blueprint.post("/predict")
    def predict() -> dict[str, Any]:
        with admission.place():
            document = read_json(request)
            _check_count(document.get("tasks"), settings.max_predict_tasks)
            body = parse(PredictRequest, document)
            raw = document["tasks"]
            if not raw:
                return {"results": []}
            project_id = _project_of(body, raw)
            version, connected = current_version(store, project_id)
            if not connected:
                log.info("predict_for_unknown_project", project=project_id, tasks=len(raw))
                empty = {"score": UNKNOWN_SCORE, "result": []}
                return {"results": predictions_answer([empty] * len(raw), len(raw), version)}
            predictor = predictor_of(project_id)
            context = body.params.context if body.params is not None else None
            if context and len(raw) == 1:
                predictions = [predictor.interact(raw[0], context)]
            else:
                predictions = predictor.predict(raw)
            return {"results": predictions_answer(predictions, len(raw), version)}

    return blueprint


def _check_count(tasks: object, most: int) -> None:
    """Refuse a long list before it is looked at in detail."""
    if isinstance(tasks, list) and len(tasks) > most:
        raise Problem(
            413,
            "Too many tasks at once.",
            f"{len(tasks)} tasks were sent and at most {most} are taken "
            "(GALAXYLOOP_MAX_PREDICT_TASKS).",
            "Select fewer tasks. Retrieving predictions for a whole project is not needed: the "
            "worker imports them by itself after each round.",
        )


def _project_of(body: PredictRequest, tasks: list[dict[str, Any]]) -> int:
    if body.project is not None:
        return project_number(body.project)
    named = (task["project"] for task in tasks if task.get("project") is not None)
    return project_number(str(next(named, "")))
