"""What programs read of the backend as a whole, as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ml_backend.store.tables import Job

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_jobs_are_given_as_json(backend: Any) -> None:
    with backend.store.session() as session:
        session.add(Job(kind="round", project_id=2, state="running", progress=0.25, created_at=NOW))
    (job,) = backend.client.get("/jobs").json["jobs"]
    assert (job["kind"], job["state"], job["progress"]) == ("round", "running", 0.25)
    assert job["created_at"] == "2026-11-23T12:00:00+00:00"
    assert backend.client.get("/jobs?project=2").json["jobs"] == [job]
    assert backend.client.get("/jobs?project=4").json["jobs"] == []
    assert backend.client.get("/jobs?limit=-5").status_code == 200


@pytest.mark.parametrize("project", ["x", "-1", "1" * 30, "²"])
def test_projects_that_are_no_numbers_are_refused(backend: Any, project: str) -> None:
    assert backend.client.get("/jobs", query_string={"project": project}).status_code == 400


def test_the_doctor_is_given_as_json(backend: Any) -> None:
    told = backend.client.get("/doctor").json
    assert told["findings"] == []
    assert told["failure"] is None
    assert datetime.fromisoformat(told["checked_at"]).tzinfo is not None
