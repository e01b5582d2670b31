"""What Label Studio sends and what we answer, typed; anything else is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from flask import Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ml_backend.protocol.problems import Problem

_REMEDY = "Send what Label Studio sends; docs/operators.md names the versions that are supported."
# A few of the faults say as much as all of them.
_SHOWN_FAULTS = 5
# What a database can hold; without `strict`, true would be 1.
Id = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class Payload(BaseModel):
    """Base of all payloads: unknown keys are left alone, since Label Studio adds some."""

    model_config = ConfigDict(extra="ignore")


PayloadT = TypeVar("PayloadT", bound=Payload)


class SetupRequest(Payload):
    """Body of ``POST /setup``; `project` is ``<id>.<unix time of creation>``."""

    project: str | int | float
    label_schema: str = Field("", alias="schema")
    hostname: str = ""
    # The creator's token: kept out of every repr, never used and never stored.
    access_token: SecretStr = SecretStr("")
    extra_params: Any = None


class TaskPayload(Payload):
    """One task of ``POST /predict``; `data` holds the image address under the field's name."""

    id: Id | None = None
    data: dict[str, Any]


class PredictParameters(Payload):
    """``params`` of ``POST /predict``; `context` is filled by interactive annotating."""

    context: dict[str, Any] | None = None


class PredictRequest(Payload):
    """Body of ``POST /predict``."""

    tasks: list[TaskPayload]
    project: str | int | float | None = None
    label_config: str | None = None
    params: PredictParameters | None = None


class HookProject(Payload):
    """``project`` of a webhook event, without the invite token that it also carries."""

    id: Id
    label_config: str | None = None


class HookEvent(Payload):
    """Body of ``POST /webhook``."""

    action: str = Field(max_length=100)
    project: HookProject | None = None


class Prediction(Payload):
    """One entry of the answer to ``POST /predict``."""

    model_version: str
    score: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    result: list[dict[str, Any]]


def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of `request`.

    Raises
    ------
    Problem
        400 where the body is not JSON or not an object.
    """
    body = request.get_data(cache=False)
    try:
        document = json.loads(body)
    except RecursionError:
        raise Problem(
            400, "The body cannot be read.", "It is nested too deeply.", _REMEDY
        ) from None
    except ValueError as error:
        why = "It is empty." if not body.strip() else f"It is not JSON: {error}."
        raise Problem(400, "The body cannot be read.", why[:300], _REMEDY) from None
    if not isinstance(document, dict):
        raise Problem(
            400,
            "The body cannot be used.",
            f"A JSON object is expected, not {_json_name(document)}.",
            _REMEDY,
        )
    return document


def parse(model: type[PayloadT], document: dict[str, Any]) -> PayloadT:
    """Return `document` as `model`.

    Raises
    ------
    Problem
        400 that names the first fields that do not fit; their values are not repeated.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        named = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
            for fault in faults[:_SHOWN_FAULTS]
        ]
        if len(faults) > _SHOWN_FAULTS:
            named.append(f"and {len(faults) - _SHOWN_FAULTS} more")
        raise Problem(400, "The body cannot be used.", "; ".join(named), _REMEDY) from None


def project_number(value: str | int | float) -> int:
    """Return the project id in ``<id>.<unix time>`` or a plain number.

    Raises
    ------
    Problem
        400 where there is none.
    """
    head = str(value).partition(".")[0].strip()
    # isdecimal() alone would let other scripts' digits through.
    if not (head.isascii() and head.isdecimal() and 0 < len(head) <= 18) or int(head) == 0:
        raise Problem(
            400,
            "The project is not named.",
            f"{str(value)[:60]!r} is not '<project id>.<creation time>'.",
            _REMEDY,
        )
    return int(head)


def predictions_answer(
    predictions: Sequence[dict[str, Any]], count: int, model_version: str
) -> list[dict[str, Any]]:
    """Return exactly `count` predictions that Label Studio can store, in order.

    A score that is not a finite number stops labelling for everyone, and a short list makes Label
    Studio drop all of it, so neither may ever leave this process.

    Parameters
    ----------
    predictions : sequence of dict
        ``{"score", "result", "model_version"?}`` per task, in the order of the tasks.
    count : int
        Number of tasks asked for.
    model_version : str
        Version of entries that name none.

    Returns
    -------
    list of dict
        ``{"model_version", "score" in [0, 1], "result": list}``, one per task.

    Raises
    ------
    RuntimeError
        If there are not `count` predictions: no order could be trusted then.
    """
    if len(predictions) != count:
        raise RuntimeError(f"{len(predictions)} predictions were made for {count} tasks")
    return [_answer(prediction, model_version) for prediction in predictions]


def _answer(prediction: dict[str, Any], model_version: str) -> dict[str, Any]:
    score = prediction.get("score")
    finite = isinstance(score, int | float) and math.isfinite(score)
    result = prediction.get("result")
    return Prediction(
        model_version=str(prediction.get("model_version") or model_version),
        score=min(1.0, max(0.0, float(score))) if finite and score is not None else 1.0,
        result=result if isinstance(result, list) else [],
    ).model_dump()


def _json_name(document: object) -> str:
    if document is None:
        return "null"
    names = {list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(document), "a number")
