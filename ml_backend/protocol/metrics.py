"""``GET /metrics``: figures for Prometheus; every app counts for itself."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from ml_backend.store.database import Store
from ml_backend.store.tables import Job, Task, Version, Vote

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class StoreCollector(Collector):
    """Reads the figures of the loop from the store whenever they are asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not read the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield votes, tasks, versions and jobs as gauges."""
        votes = GaugeMetricFamily("galaxyloop_votes", "Votes known.", labels=["project", "kind"])
        tasks = GaugeMetricFamily("galaxyloop_tasks", "Tasks known.", labels=["project", "state"])
        versions = GaugeMetricFamily(
            "galaxyloop_versions", "Versions made.", labels=["project", "kind", "state"]
        )
        jobs = GaugeMetricFamily("galaxyloop_jobs", "Jobs.", labels=["kind", "state"])
        depth = GaugeMetricFamily("galaxyloop_queue_depth", "Jobs queued or running.")
        problem = Task.problem.is_not(None)
        with self._store.reading() as session:
            for project, skipped, count in session.execute(
                select(Vote.project_id, Vote.skipped, func.count()).group_by(
                    Vote.project_id, Vote.skipped
                )
            ):
                votes.add_metric([str(project), "skipped" if skipped else "answer"], count)
            for project, broken, count in session.execute(
                select(Task.project_id, problem, func.count())
                .where(Task.removed.is_(False))
                .group_by(Task.project_id, problem)
            ):
                tasks.add_metric([str(project), "broken" if broken else "usable"], count)
            for project, kind, state, count in session.execute(
                select(Version.project_id, Version.kind, Version.state, func.count()).group_by(
                    Version.project_id, Version.kind, Version.state
                )
            ):
                versions.add_metric([str(project), kind, state], count)
            waiting = 0
            for kind, state, count in session.execute(
                select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
            ):
                jobs.add_metric([kind, state], count)
                waiting += count if state in ("queued", "running") else 0
        depth.add_metric([], waiting)
        yield from (votes, tasks, versions, jobs, depth)


def register_metrics(app: Flask, store: Store) -> None:
    """Count the requests of `app` and answer ``/metrics``."""
    registry = CollectorRegistry()
    requests = Counter(
        "galaxyloop_requests", "Requests.", ["method", "path", "status"], registry=registry
    )
    seconds = Histogram(
        "galaxyloop_request_seconds",
        "Seconds to answer.",
        ["path"],
        buckets=_SECONDS,
        registry=registry,
    )
    registry.register(StoreCollector(store))

    @app.before_request
    def _start() -> None:
        g.started = perf_counter()

    @app.after_request
    def _count(response: Response) -> Response:
        # Rules, not addresses: anyone could make up addresses (and methods), each a new series.
        path = request.url_rule.rule if request.url_rule else "other"
        method = request.method if request.method in _METHODS else "other"
        requests.labels(method, path, str(response.status_code)).inc()
        if "started" in g:
            seconds.labels(path).observe(perf_counter() - g.started)
        return response

    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(blueprint)
