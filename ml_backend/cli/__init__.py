"""The ``galaxyloop`` command; each module registers its commands on import."""

from ml_backend.cli import (
    accounts,
    catalogues,
    embeddings,
    exports,
    golds,
    likeness,
    listing,
    networks,
    pretraining,
    processes,
    projects,
    reports,
    zooniverse,
)
from ml_backend.cli.command import main

__all__ = [
    "accounts",
    "catalogues",
    "embeddings",
    "exports",
    "golds",
    "likeness",
    "listing",
    "main",
    "networks",
    "pretraining",
    "processes",
    "projects",
    "reports",
    "zooniverse",
]
