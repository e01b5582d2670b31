"""The versions of a period: published, refused, brought back; mere new orders are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select

from ml_backend.store.database import Store
from ml_backend.store.tables import Version

SHOWN = 20


@dataclass(frozen=True)
class Versions:
    """What became of versions in a period.

    Attributes
    ----------
    shown : sequence of Version
        The newest `SHOWN` that say something new (no mere new order), newest first.
    published, refused, abandoned, returned, reordered : int
        Versions with new heads that became the champion, that the gate refused, that came too
        late; earlier ones brought back; new orders by the same heads.
    """

    shown: Sequence[Version]
    published: int
    refused: int
    abandoned: int
    returned: int
    reordered: int

    @property
    def told(self) -> int:
        """All that `shown` is the newest part of."""
        return self.published + self.refused + self.abandoned + self.returned


def versions_in(store: Store, project_id: int, start: datetime) -> Versions:
    """Return the versions that were made or published since `start`."""
    recent = (
        Version.project_id == project_id,
        or_(Version.created_at >= start, Version.published_at >= start),
        Version.state != "building",
    )
    with store.reading() as session:
        shown = list(
            session.scalars(
                select(Version)
                .where(*recent, Version.kind != "rerank")
                .order_by(Version.number.desc())
                .limit(SHOWN)
            )
        )
        counted = session.execute(
            select(Version.kind, Version.state, func.count())
            .where(*recent)
            .group_by(Version.kind, Version.state)
        ).all()
    found = dict.fromkeys(("published", "refused", "abandoned", "returned", "reordered"), 0)
    for kind, state, count in counted:
        if kind == "rerank":
            found["reordered"] += count
        elif state in ("rejected", "abandoned"):
            found["refused" if state == "rejected" else "abandoned"] += count
        else:
            found["returned" if kind == "rollback" else "published"] += count
    return Versions(shown, **found)
