"""Tiny Hugging Face vision encoders with random weights, in folders as transformers writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

SIZE = 64
PLAIN = {
    "image_size": SIZE,
    "patch_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WINDOWED = {
    "image_size": SIZE,
    "embed_dim": 8,
    "depths": [1, 1, 2, 1],
    "num_heads": [1, 2, 2, 2],
    "window_size": 4,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "swin": lambda: transformers.SwinConfig(**WINDOWED),
    "swinv2": lambda: transformers.Swinv2Config(**WINDOWED),
    "convnextv2": lambda: transformers.ConvNextV2Config(
        image_size=SIZE, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1]
    ),
    "dinov2": lambda: transformers.Dinov2Config(
        image_size=56, patch_size=14, hidden_size=16, num_hidden_layers=8, num_attention_heads=2
    ),
    "resnet": lambda: transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], layer_type="basic"
    ),
    "vit": lambda: transformers.ViTConfig(**PLAIN),
    "siglip": lambda: transformers.SiglipVisionConfig(**PLAIN),
}
PROCESSOR = {
    "do_resize": True,
    "size": {"height": SIZE, "width": SIZE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def save_encoder(folder: Path, kind: str = "swin", seed: int = 0, **processor: Any) -> Path:
    """Write an encoder with its ``preprocessor_config.json``; `processor` changes entries of it."""
    torch.manual_seed(seed)
    network = transformers.AutoModel.from_config(CONFIGS[kind]())
    network.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", PROCESSOR | processor)
    return folder


def write_json(path: Path, values: object) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(values))


def change_json(path: Path, **changes: Any) -> None:
    """Set entries of a JSON file."""
    write_json(path, json.loads(path.read_text()) | changes)
