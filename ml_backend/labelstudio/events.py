"""The webhook events of Label Studio that matter to us, and the header that proves them."""

from __future__ import annotations

from typing import Final

SECRET_HEADER: Final = "X-GalaxyLoop-Secret"

PROJECT_UPDATED: Final = "PROJECT_UPDATED"
ACTIONS: Final = (
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "TASKS_CREATED",
    "TASKS_DELETED",
    PROJECT_UPDATED,
)
"""What can change votes, tasks or questions; label links cannot."""
