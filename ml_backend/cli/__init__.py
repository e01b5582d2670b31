"""The ``galaxyloop`` command; each module registers its commands on import."""

from ml_backend.cli import embeddings, listing, networks, pretraining, processes, projects
from ml_backend.cli.command import main

__all__ = ["embeddings", "listing", "main", "networks", "pretraining", "processes", "projects"]
