"""The labelling configurations that we ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.labelstudio.config import parse_controls
from ml_backend.labelstudio.regions import choices_result

FOLDER = Path(__file__).parents[3] / "labeling_configs"
EXPECTED = {
    "morphology.xml": ({"morphology": (4, False)}, []),
    "shape_and_features.xml": (
        {"shape": (4, False), "features": (5, True), "quality": (2, False)},
        ["Rating"],
    ),
    "looks.xml": ({"morphology": (4, False)}, []),
    "rings.xml": ({"ring": (2, False)}, []),
}


def test_every_example_is_tested_and_described() -> None:
    found = {path.name for path in FOLDER.glob("*.xml")}
    assert found == set(EXPECTED)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(name in readme for name in found)


@pytest.mark.parametrize("name", EXPECTED)
def test_example_is_read_and_its_predictions_are_accepted(name: str) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    text = (FOLDER / name).read_text(encoding="utf-8")
    config = parse_controls(text)
    controls, unsupported = EXPECTED[name]
    assert {c.name: (len(c.labels), c.multiple) for c in config.controls} == controls
    assert [tag.tag for tag in config.unsupported] == unsupported
    assert {control.image_field for control in config.controls} == {"image"}
    interface = LabelInterface(text)
    interface.validate()
    result = [
        region
        for control in config.controls
        for region in choices_result(control, [1.0, *[0.0] * (len(control.labels) - 1)])
    ]
    assert len(result) == len(controls)
    prediction = {"result": result, "score": 0.25, "model_version": "m"}
    assert interface.validate_prediction(prediction, return_errors=True) == []


@pytest.mark.parametrize("name", EXPECTED)
def test_hotkeys_are_each_used_once(name: str) -> None:
    import re

    keys = re.findall(r'hotkey="(.)"', (FOLDER / name).read_text(encoding="utf-8"))
    assert keys
    assert len(keys) == len(set(keys))
