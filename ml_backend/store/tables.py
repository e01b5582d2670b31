"""The tables of the store, once; every time is UTC and carries its zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its zone; SQLite would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone cannot be kept: use datetime.now(UTC).")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        time: datetime = value
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
    }


class Project(Base):
    """A Label Studio project that is connected to this backend."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(Text, default="")
    label_config: Mapped[str] = mapped_column(Text, default="")
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What differs from the settings (``strategy``, ``top_k``...); absent or None: the setting."""
    champion: Mapped[str | None] = mapped_column(String(200))
    """Name of the version that is published."""
    backend_id: Mapped[int | None]
    webhook_id: Mapped[int | None]
    reconciled_until: Mapped[datetime | None]
    """Label Studio's latest ``updated_at`` that reconciliation has seen."""
    reconciled_at: Mapped[datetime | None]
    swept_at: Mapped[datetime | None]
    """When all tasks were last read, by our clock."""
    swept_digest: Mapped[str] = mapped_column(String(64), default="")
    """Digest of the labelling configuration that all annotations were last read with."""
    hints: Mapped[int] = mapped_column(default=0)
    """Webhooks since the last round that may mean new votes."""
    first_hint_at: Mapped[datetime | None]
    hinted_at: Mapped[datetime | None]
    training_requested_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    """Rounds that failed in a row."""
    retry_at: Mapped[datetime | None]
    """No round by itself before this time (after failures)."""
    created_at: Mapped[datetime]


class Task(Base):
    """A Label Studio task: one image."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_project_content", "project_id", "content_hash"),
        # These two are for counting alone: so many rows are not looked at one by one.
        Index("ix_tasks_project_state", "project_id", "removed", "is_labeled"),
        Index(
            "ix_tasks_project_broken",
            "project_id",
            sqlite_where=text("problem IS NOT NULL"),
            postgresql_where=text("problem IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    image: Mapped[str] = mapped_column(Text, default="")
    """Address of the image as the task gives it; empty where the field is missing."""
    content_hash: Mapped[str | None] = mapped_column(String(64))
    problem: Mapped[str | None] = mapped_column(Text)
    """Why the image cannot be used, in a sentence."""
    tried_at: Mapped[datetime | None]
    updated_at: Mapped[datetime | None]
    is_labeled: Mapped[bool] = mapped_column(default=False)
    """Label Studio has all the annotations that it wants and serves the task no more."""
    overlap: Mapped[int | None]
    """Annotations that Label Studio wants of it."""
    annotations: Mapped[int] = mapped_column(default=0)
    """Annotations that Label Studio has of it, cancelled ones not counted."""
    audit: Mapped[bool] = mapped_column(default=False)
    """The task was served by the audit arm."""
    removed: Mapped[bool] = mapped_column(default=False)
    """Label Studio has it no more."""


class Vote(Base):
    """One annotator's answer to one control on one task; a skip has an empty control."""

    __tablename__ = "votes"
    __table_args__ = (
        UniqueConstraint("annotation_id", "control"),
        Index("ix_votes_project_task", "project_id", "task_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    annotation_id: Mapped[int]
    control: Mapped[str] = mapped_column(String(500))
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    task_id: Mapped[int]
    annotator: Mapped[int | None]
    labels: Mapped[list[str]] = mapped_column(default=list)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What was marked or measured, as ``labelstudio.typed.kept`` makes it; None for choices."""
    skipped: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime | None]
    updated_at: Mapped[datetime | None]
    lead_time: Mapped[float | None]
    """Seconds that the annotator took, as the editor says."""
    origin: Mapped[str] = mapped_column(String(50), default="manual")
    shown_version: Mapped[str | None] = mapped_column(String(200))
    """Version of the pre-annotation that the annotator saw."""
    accepted: Mapped[bool | None]
    """The answer equals the pre-annotation; None where none was shown."""
    agrees: Mapped[bool | None]
    """The answer equals what the published version would have suggested, shown or not; None where
    it had none."""
    ground_truth: Mapped[bool] = mapped_column(default=False)
    """Flagged in Label Studio as the known answer."""
    audit: Mapped[bool] = mapped_column(default=False)
    """The task came from the audit arm."""
    problem: Mapped[str | None] = mapped_column(Text)


class Version(Base):
    """What a round made: heads and a ranking, published under one name."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("project_id", "number"),)

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    """``cold`` (no votes), ``trained``, ``tuned`` (trained, the first on a tuned LVM), ``rerank``
    (heads of `source`) or ``rollback``."""
    state: Mapped[str] = mapped_column(String(20), default="building")
    """``building``, ``published`` (the champion), ``retired``, ``rejected`` or ``abandoned``."""
    stage: Mapped[str] = mapped_column(String(20), default="started")
    """Last step that is done: ``started``, ``trained``, ``ranked``, ``published``."""
    source: Mapped[str | None] = mapped_column(String(200))
    """Name of the version that the heads were trained under, where it is another one."""
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    votes: Mapped[int] = mapped_column(default=0)
    """Votes that were there (skips not counted)."""
    seconds: Mapped[float | None]
    """From the start of the round to the switch."""
    timings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Seconds of each step."""
    quality: Mapped[dict[str, Any]] = mapped_column(default=dict)
    gate: Mapped[dict[str, Any]] = mapped_column(default=dict)
    lvm_identity: Mapped[str] = mapped_column(String(64), default="")
    config_digest: Mapped[str] = mapped_column(String(64), default="")
    votes_digest: Mapped[str] = mapped_column(String(64), default="")
    problem: Mapped[str | None] = mapped_column(Text)
    """Why it was rejected or abandoned."""
    in_label_studio: Mapped[bool] = mapped_column(default=False)
    """Label Studio may hold predictions under this name."""
    on_disk: Mapped[bool] = mapped_column(default=False)
    """Its files are kept."""


class Ranking(Base):
    """One task's place in the queue that a version published."""

    __tablename__ = "rankings"

    version: Mapped[str] = mapped_column(ForeignKey("versions.name"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, index=True)
    place: Mapped[int]
    """0 is served first."""
    score: Mapped[float]
    """Label Studio's prediction score: ascending with the place, in [0, 1]."""
    uncertainty: Mapped[float | None]
    arm: Mapped[str] = mapped_column(String(10))
    """``active``, ``audit`` or ``cold``."""
    answers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Per control the suggested labels and their calibrated confidence."""


class Job(Base):
    """A piece of the worker's work; this row is the truth about it."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_project", "state", "project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(30))
    project_id: Mapped[int]
    state: Mapped[str] = mapped_column(String(10), default="queued")
    """``queued``, ``running``, ``done`` or ``failed``."""
    progress: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[str] = mapped_column(Text, default="")
    worker: Mapped[str | None] = mapped_column(String(200))
    heartbeat_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Tuning(Base):
    """A try to tune the LVM to a project's labels."""

    __tablename__ = "tunings"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    base_identity: Mapped[str] = mapped_column(String(64))
    """The LVM that it began from."""
    lvm_identity: Mapped[str | None] = mapped_column(String(64))
    """The LVM that it made, once its files are there."""
    labels: Mapped[int] = mapped_column(default=0)
    """Labelled galaxies that there were."""
    state: Mapped[str] = mapped_column(String(20), default="running")
    """``running``, ``ready`` (a round will judge it), ``accepted``, ``refused``, ``failed`` (tried
    again), or ``lost`` (its files were damaged)."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """What came of it, in a sentence."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class WorkerSign(Base):
    """A sign of life of a worker process, also while it has nothing to do."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
