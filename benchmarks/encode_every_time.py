"""The baseline: a backend that fetches, decodes and encodes all images on every ``/predict``.

That is how the common Label Studio backends work. It has the same LVM, the same kind of head and
the same server as ours, holds its model in memory and encodes a request's images in one batch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from flask import Flask, request
from gunicorn.app.base import BaseApplication

from ml_backend.loop.encoding import load_lvm
from ml_backend.settings import environment_settings
from models.heads.classification import SingleChoiceHead
from models.images import read_image
from models.throughput import encode_images

LABELS = ("elliptical", "spiral", "edge_on", "merger")


def create_app(folder: Path) -> Flask:
    """Return the application that predicts for the images in `folder`."""
    lvm = load_lvm(environment_settings())
    rng = np.random.default_rng(0)
    # What the head has learnt does not change what it costs.
    targets = np.eye(len(LABELS))[np.arange(40) % len(LABELS)]
    head = SingleChoiceHead(LABELS).fit(
        rng.normal(size=(40, lvm.dimension)).astype(np.float32), targets, np.ones(40)
    )
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        names = [
            parse_qs(urlsplit(task["data"]["image"]).query)["d"][0]
            for task in request.get_json()["tasks"]
        ]
        images = [read_image((folder / name).read_bytes()) for name in names]
        embeddings = np.stack(list(encode_images(lvm, images, batch_size=32)))
        results = []
        for row in head.predict(embeddings):
            region = {
                "type": "choices",
                "from_name": "shape",
                "to_name": "image",
                "value": {"choices": [LABELS[int(row.argmax())]]},
            }
            results.append({"score": float(row.max()), "result": [region]})
        return {"results": results}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP"}

    return app


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn as ours runs it."""

    def load_config(self) -> None:
        """Set port and threads."""
        self.cfg.set("bind", f"127.0.0.1:{sys.argv[2]}")
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", 16)
        self.cfg.set("keepalive", 30)
        self.cfg.set("timeout", 600)

    def load(self) -> Flask:
        """Make the application."""
        return create_app(Path(sys.argv[1]))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))
    Server().run()
