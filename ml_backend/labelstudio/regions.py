"""Our probabilities -> Label Studio results; Label Studio annotations -> people's answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ml_backend.labelstudio.config import ChoicesControl, LabelConfig

ORIGINS = ("manual", "prediction", "prediction-changed")


@dataclass(frozen=True)
class Answer:
    """What one annotation says about one control.

    Attributes
    ----------
    control : str
        Name of the control.
    labels : tuple of str
        Labels as they were given, also such as the configuration no longer has. Empty for a skip,
        and where a multiple choice was submitted with nothing ticked ("none of these").
    origin : str
        "manual" (chosen by a person), "prediction" (our suggestion left as it was),
        "prediction-changed", or "unknown" (imported, or made through the API).
    skipped : bool
        Whether the task was skipped: no vote.
    unknown : tuple of str
        Those of `labels` that the configuration does not offer.
    suggested : tuple of str or None
        Labels that the prediction on show had for this control, None where none was on show.
    model_version : str or None
        Version of that prediction.
    """

    control: str
    labels: tuple[str, ...]
    origin: str
    skipped: bool
    unknown: tuple[str, ...] = ()
    suggested: tuple[str, ...] | None = None
    model_version: str | None = None


@dataclass(frozen=True)
class AnnotationReading:
    """The answers of an annotation, and what in it could not be used and why."""

    answers: tuple[Answer, ...]
    problems: tuple[str, ...]


def choices_result(control: ChoicesControl, probabilities: ArrayLike) -> list[dict[str, Any]]:
    """Turn the probabilities of one task into a Label Studio result.

    Parameters
    ----------
    control : ChoicesControl
        The control that is answered.
    probabilities : array_like of shape (k,)
        Calibrated probability of each label, in [0, 1], in the order of ``control.labels``.

    Returns
    -------
    list of dict
        One region, or none where no label of a multiple choice reaches 0.5. Its ``score`` is the
        confidence: of a single choice the largest probability; of a multiple choice the
        probability that every tick and every gap is right, labels taken as independent. Its id
        depends on the control only.

    Raises
    ------
    ValueError
        Wrong number of probabilities, or one that is not in [0, 1].
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.shape != (len(control.labels),):
        raise ValueError(
            f"control {control.name!r} has {len(control.labels)} labels, not {values.shape}"
        )
    # Rounding in float32 may pass 1 by a hair.
    if not np.all((values >= -1e-6) & (values <= 1 + 1e-6)):
        raise ValueError(f"probabilities of control {control.name!r} are not in [0, 1]: {values}")
    values = values.clip(0.0, 1.0)
    if control.multiple:
        chosen = np.flatnonzero(values >= 0.5)
        confidence = float(np.maximum(values, 1 - values).prod())
    else:
        chosen = np.array([values.argmax()])
        confidence = float(values.max())
    if not len(chosen):
        return []
    return [
        {
            "id": "galaxyloop-" + hashlib.sha256(control.name.encode()).hexdigest()[:10],
            "type": "choices",
            "from_name": control.name,
            "to_name": control.to_name,
            "value": {"choices": [control.labels[index] for index in chosen]},
            "score": round(confidence, 6),
        }
    ]


def votes_from_annotation(annotation: Mapping[str, Any], config: LabelConfig) -> list[Answer]:
    """Return the answers that an annotation gives; see `read_annotation`."""
    return list(read_annotation(annotation, config).answers)


def read_annotation(annotation: Mapping[str, Any], config: LabelConfig) -> AnnotationReading:
    """Read an annotation as Label Studio lists it. Nothing in it makes this fail.

    Parameters
    ----------
    annotation : mapping
        With ``result``, ``was_cancelled`` and, where given, ``prediction`` (the snapshot that
        Label Studio takes of the prediction on show).
    config : LabelConfig
        The project's controls.

    Returns
    -------
    AnnotationReading
        Per control of `config` at most one answer. A skipped task gives one answer per control
        with ``skipped`` set, whatever its result holds (the editor submits our own suggestion
        with a skip). A multiple choice that is always shown and has no region was left unticked:
        an answer with no labels. Regions of unsupported controls are passed over silently.
    """
    problems: list[str] = []
    shown, version = _suggestion(annotation, config)
    if annotation.get("was_cancelled"):
        return AnnotationReading(
            tuple(
                Answer(control.name, (), "unknown", True, (), shown.get(control.name), version)
                for control in config.controls
            ),
            (),
        )
    given, origins = _chosen(annotation.get("result"), config, problems)
    answers = []
    for control in config.controls:
        labels = given.get(control.name)
        if labels is None:
            broken = control.name in origins
            if broken or not control.multiple or control.conditional:
                continue
            labels = ()
        unknown = tuple(label for label in labels if label not in control.labels)
        if unknown:
            problems.append(
                f"control {control.name!r} does not offer {', '.join(map(repr, unknown))}"
            )
        if not control.multiple and len(labels) > 1:
            problems.append(f"single choice {control.name!r} holds {len(labels)} labels")
        origin = origins.get(control.name, "unknown")
        answers.append(
            Answer(control.name, labels, origin, False, unknown, shown.get(control.name), version)
        )
    return AnnotationReading(tuple(answers), tuple(problems))


def _chosen(
    result: object, config: LabelConfig, problems: list[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Labels and origin by control; a control with only broken regions has an origin, no labels."""
    given: dict[str, tuple[str, ...]] = {}
    origins: dict[str, str] = {}
    if not isinstance(result, list):
        problems.append("its result is not a list")
        origins = {control.name: "unknown" for control in config.controls}
        return given, origins
    for region in result:
        if not isinstance(region, dict):
            problems.append("a region is not an object")
            continue
        name = region.get("from_name")
        control = config.control(name) if isinstance(name, str) else None
        if control is None:
            continue
        origin = region.get("origin")
        origins[control.name] = origin if origin in ORIGINS else "unknown"
        value = region.get("value")
        labels = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            problems.append(f"a region of control {control.name!r} holds no list of choices")
            continue
        named = [_label(control, label) for label in labels]
        given[control.name] = tuple(dict.fromkeys([*given.get(control.name, ()), *named]))
    return given, origins


def _label(control: ChoicesControl, label: str) -> str:
    """The label itself, or the one whose shown text this is (imports hold either)."""
    if label in control.labels or label not in control.texts:
        return label
    return control.labels[control.texts.index(label)]


def _suggestion(
    annotation: Mapping[str, Any], config: LabelConfig
) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """What the prediction on show said, by control (empty where it ticked nothing)."""
    prediction = annotation.get("prediction")
    if not isinstance(prediction, dict) or not isinstance(prediction.get("result"), list):
        return {}, None
    given, _ = _chosen(prediction["result"], config, [])
    version = prediction.get("model_version")
    return (
        {control.name: given.get(control.name, ()) for control in config.controls},
        version if isinstance(version, str) else None,
    )
