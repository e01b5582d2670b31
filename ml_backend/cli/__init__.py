"""The ``galaxyloop`` command; each module registers its commands on import."""

from ml_backend.cli import (
    catalogues,
    embeddings,
    exports,
    listing,
    networks,
    pretraining,
    processes,
    projects,
)
from ml_backend.cli.command import main

__all__ = [
    "catalogues",
    "embeddings",
    "exports",
    "listing",
    "main",
    "networks",
    "pretraining",
    "processes",
    "projects",
]
