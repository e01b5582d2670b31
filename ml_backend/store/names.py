"""The names of versions, as Label Studio and people see them."""

from __future__ import annotations


def version_prefix(project_id: int) -> str:
    """Return what the names of all versions of a project begin with."""
    return f"galaxyloop-p{project_id}-v"


def version_name(project_id: int, number: int) -> str:
    """Return the name of a project's version; the first has number 1."""
    return f"{version_prefix(project_id)}{number}"


def initial_version(project_id: int) -> str:
    """Return the name that stands for "no version yet"; no version ever has it."""
    return version_name(project_id, 0)
