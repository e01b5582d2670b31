from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_backend.demo.curve import Curve, CurvePoint, HeldOut
from ml_backend.demo.labels import DemoImage
from ml_backend.demo.pictures import Picture
from ml_backend.errors import DemoError
from ml_backend.settings import Settings
from models.heads.classification import SingleChoiceHead
from models.lvm import LVM, LVMConfig
from models.preprocessing import Preprocessing


def test_the_file_is_valid_json_after_every_point(tmp_path: Path) -> None:
    kept, wanted = tmp_path / "kept.json", tmp_path / "deep" / "wanted.json"
    curve = Curve([kept, wanted])
    assert json.loads(wanted.read_text()) == []
    curve.add(CurvePoint(10, 0.8, 0.7, 2.5, "v1"))
    curve.add(CurvePoint(0, None, None, None, "v0"))
    curve.add(CurvePoint(10, 0.9, 0.8, 2.5, "v2"))
    assert json.loads(wanted.read_text()) == [
        {
            "votes": 0,
            "macro_auc": None,
            "accuracy": None,
            "round_seconds": None,
            "model_version": "v0",
        },
        {
            "votes": 10,
            "macro_auc": 0.9,
            "accuracy": 0.8,
            "round_seconds": 2.5,
            "model_version": "v2",
        },
    ]
    assert Curve([kept]).points == curve.points
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("text", ["", "{}x", '[{"votes": 1}]', "[3]"])
def test_a_broken_curve_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "curve.json").write_text(text)
    with pytest.raises(DemoError, match="no learning curve"):
        Curve([tmp_path / "curve.json"])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match="cannot be written"):
        Curve([tmp_path / "file" / "curve.json"])


def test_held_out_images_are_measured_as_the_worker_would_encode_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pictures = []
    for index in range(12):
        name = f"{index}.png"
        level = 40 if index % 2 else 200
        Image.fromarray(rng.integers(level - 30, level + 30, (40, 40, 3)).astype(np.uint8)).save(
            tmp_path / name
        )
        label = "dark" if index % 2 else "bright"
        pictures.append(Picture(DemoImage(name, tmp_path / name, label), name))
    (tmp_path / "broken.png").write_bytes(b"no image")
    pictures.append(Picture(DemoImage("broken.png", tmp_path / "broken.png", "dark"), "broken.png"))
    small = LVMConfig(
        image_size=32,
        window=2,
        width=8,
        depths=(1, 1),
        heads=(2, 2),
        decoder=False,
        pooling=("mean0", "std0", "mean1"),
        preprocessing=Preprocessing(kind="rgb8", size=32),
    )
    LVM(small).save_pretrained(tmp_path / "lvm")
    held = HeldOut(Settings(GALAXYLOOP_LVM=tmp_path / "lvm"), ("bright", "dark"))
    problems = held.encode(pictures, tmp_path, tmp_path / "embeddings")
    assert len(problems) == 1
    assert "broken.png" in problems[0]
    assert held.measure(None) == (0.5, 0.5)
    right = np.eye(2)[[0, 1] * 6]
    knows = SingleChoiceHead(("dark", "bright")).fit(held._rows, right[:, ::-1], np.ones(12))
    assert held.measure(knows) == (1.0, 1.0)
    inverted = SingleChoiceHead(("dark", "bright")).fit(held._rows, right, np.ones(12))
    auc, hits = held.measure(inverted)
    assert auc == 0.0
    assert hits == 0.0
    with pytest.raises(DemoError, match="knows no"):
        HeldOut(Settings(), ("bright", "dark", "grey")).measure(knows)
