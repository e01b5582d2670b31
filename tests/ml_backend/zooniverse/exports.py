"""Makes classification exports as Zooniverse writes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEAD = (
    "classification_id", "user_name", "user_id", "user_ip", "workflow_id", "workflow_name",
    "workflow_version", "created_at", "gold_standard", "expert", "metadata", "annotations",
    "subject_data", "subject_ids",
)  # fmt: skip


def classification(
    number: int, user: str, subject: int, annotations: Any, *, live: bool = True,
    fields: Mapping[str, Any] | None = None, size: tuple[int, int] = (400, 300), **columns: str,
) -> dict[str, str]:  # fmt: skip
    """One row of an export."""
    metadata = {
        "started_at": "2026-01-02T03:04:05.000Z",
        "finished_at": "2026-01-02T03:04:17.500Z",
        "live_project": live,
        "subject_dimensions": [{"naturalWidth": size[0], "naturalHeight": size[1]}],
    }
    made = dict.fromkeys(HEAD, "")
    made |= {
        "classification_id": str(number),
        "user_name": user,
        "workflow_id": "77",
        "workflow_version": "12.34",
        "created_at": "2026-01-02 03:04:18 UTC",
        "metadata": json.dumps(metadata),
        "annotations": annotations if isinstance(annotations, str) else json.dumps(annotations),
        "subject_data": json.dumps({str(subject): dict(fields or {})}),
        "subject_ids": str(subject),
    }
    return made | columns


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write an export."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEAD)
        writer.writeheader()
        writer.writerows(rows)
    return path
