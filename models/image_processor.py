"""Hugging Face's ``preprocessor_config.json`` as a preprocessing of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# A ConvNeXt processor leaves the crop out from this side on (its own convention).
UNCROPPED = 384


def as_preprocessing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Translate what an image processor does to arguments of `Preprocessing`.

    Ours takes the central square and resamples it once with antialiasing, theirs resample the
    whole image (mostly with bicubic weights) and crop then: the same pixels of the sky, with
    slightly other weights. Their numbers are in 0 to 255, ours in 0 to 1.

    Parameters
    ----------
    values : mapping
        Content of ``preprocessor_config.json``.

    Returns
    -------
    dict
        kind, and of size, crop, mean and std those that the file says. What it does not say, or
        says in a way that ours cannot follow, is left out and must be said by a person.
    """
    made: dict[str, Any] = {"kind": "rgb8"}
    made.update(_square(values))
    made.update(_normalisation(values))
    return made


def _square(values: Mapping[str, Any]) -> dict[str, Any]:
    """Size and crop."""
    if not values.get("do_resize", "size" in values):
        return {}
    side = _side(values.get("size"))
    if side is None:
        return {}
    fraction = values.get("crop_pct")
    if fraction is not None:
        if not _number(fraction) or not 0 < fraction <= 1:
            return {}
        kind = values.get("image_processor_type") or values.get("feature_extractor_type")
        convnext = str(kind).startswith("ConvNext")
        return {"size": side, "crop": 1.0 if convnext and side >= UNCROPPED else float(fraction)}
    if values.get("do_center_crop", "crop_size" in values):
        kept = _side(values.get("crop_size"))
        if kept is None or kept > side:
            return {}
        return {"size": kept, "crop": kept / side}
    return {"size": side, "crop": 1.0}


def _side(size: object) -> int | None:
    """Side of a square in pixels; None where it is none."""
    if isinstance(size, Mapping):
        if size.keys() == {"shortest_edge"}:
            size = size["shortest_edge"]
        elif size.keys() == {"height", "width"} and size["height"] == size["width"]:
            size = size["height"]
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _normalisation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and std, in units of 0 to 1."""
    scale = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    if not _number(scale) or scale <= 0 or values.get("offset") or values.get("rescale_offset"):
        return {}
    if not values.get("do_normalize", "image_mean" in values):
        # "Not at all" must have been said; silence is no answer.
        mean, std = [0.0] * 3, [1.0] * 3
        if "do_normalize" not in values:
            return {}
    else:
        mean, std = values.get("image_mean"), values.get("image_std")  # type: ignore[assignment]
    for triple in (mean, std):
        if not isinstance(triple, list) or len(triple) != 3 or not all(map(_number, triple)):
            return {}
    # (255 x scale - mean) / std, with x in 0 to 1.
    unit = 1.0 if math.isclose(scale * 255, 1, rel_tol=1e-6) else 1 / (255 * scale)
    return {
        "mean": tuple(float(value) * unit for value in mean),
        "std": tuple(float(value) * unit for value in std),
    }


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
