"""Writing: typed answers -> the result of a prediction, as Label Studio takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_backend.labelstudio.config import Control, LabelConfig, RegionControl
from ml_backend.labelstudio.regions import ORIGINS
from ml_backend.labelstudio.typed import Item, TypedAnswer
from ml_backend.labelstudio.written_values import write_value


@dataclass(frozen=True)
class Written:
    """The regions of a prediction, and which answers were left out and why.

    Label Studio drops a whole prediction for one region that it does not take, so such a region is
    better left out.
    """

    result: list[dict[str, Any]]
    problems: tuple[str, ...] = ()


def region_id(control: str, number: int | None = None) -> str:
    """Return the id of a control's result; it depends on nothing else than what is given."""
    name = "galaxyloop-" + hashlib.sha256(control.encode()).hexdigest()[:10]
    return name if number is None else f"{name}-{number}"


def write_answers(config: LabelConfig, answers: Iterable[TypedAnswer]) -> Written:
    """Write what is known of one task.

    Parameters
    ----------
    config : LabelConfig
    answers : iterable of TypedAnswer
        One per control, of `config.understood`; regions need their `frame`. An item of a control
        that asks about each region names in `region` the id of an item of another answer.

    Returns
    -------
    Written
        Regions with their calibrated confidence as ``score``. Nothing is written for empty masks
        and for multiple choices with nothing ticked.
    """
    result: list[dict[str, Any]] = []
    problems: list[str] = []
    told = [(answer, config.find(answer.control)) for answer in answers]
    # Those about regions come last, since they repeat the region's geometry.
    told.sort(key=lambda pair: pair[1] is not None and pair[1].per_region)
    regions: dict[str, dict[str, Any]] = {}
    for answer, control in told:
        if control is None:
            problems.append(f"the configuration has no control {answer.control!r}")
            continue
        for number, item in enumerate(answer.items):
            try:
                made = _region(control, answer, item, number, regions)
            except ValueError as error:
                problems.append(f"control {control.name!r}: {error}")
                continue
            if made is not None:
                result.append(made)
                if isinstance(control, RegionControl):
                    regions[made["id"]] = made
    return Written(result, tuple(problems))


def _region(
    control: Control,
    answer: TypedAnswer,
    item: Item,
    number: int,
    regions: Mapping[str, dict[str, Any]],
) -> dict[str, Any] | None:
    value = write_value(control, item.value, answer.frame)
    if value is None:
        return None
    about_image = not control.per_region and not isinstance(control, RegionControl)
    made: dict[str, Any] = {
        "id": region_id(control.name, None if about_image else number),
        "type": control.type,
        "from_name": control.name,
        "to_name": control.to_name,
        "value": value,
    }
    if item.region:
        made["id"] = item.region
    if isinstance(control, RegionControl) and answer.frame is not None:
        if made["id"] in regions:
            raise ValueError(f"several regions have the id {made['id']!r}")
        made |= answer.frame.as_dict()
    if control.per_region:
        region = regions.get(item.region)
        if region is None:
            raise ValueError(f"there is no region {item.region!r} to answer about")
        made["value"] = {
            **{k: v for k, v in region["value"].items() if k != region["type"]},
            **value,
        }
        made |= {key: region[key] for key in region if key.startswith(("original", "image"))}
    if item.value.score is not None:
        made["score"] = round(float(item.value.score), 6)
    if item.origin in ORIGINS:
        made["origin"] = item.origin
    return made
