"""The tables of the crowd: what votes say together, who is how reliable, what is enough."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_backend.store.tables import Base


class Posterior(Base):
    """What all votes on one control of one task say together."""

    __tablename__ = "posteriors"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    control: Mapped[str] = mapped_column(String(500), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, index=True)
    probabilities: Mapped[list[float]] = mapped_column(JSON)
    """By label, in the order of the labelling configuration; sums to 1 for a single choice."""
    label: Mapped[str] = mapped_column(Text, default="")
    """The most probable label (of a multiple choice: those above one half, joined by ``", "``)."""
    confidence: Mapped[float]
    """Probability that `label` is right, in [0, 1]."""
    people: Mapped[int]
    """People who answered."""
    difficulty: Mapped[float | None]
    """In [0, 1]; larger: people agree less than their reliability lets expect."""
    updated_at: Mapped[datetime]


class Skill(Base):
    """What the crowd model thinks of one person at one control."""

    __tablename__ = "skills"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    control: Mapped[str] = mapped_column(String(500), primary_key=True)
    person: Mapped[str] = mapped_column(String(200), primary_key=True)
    """``person 12`` (Label Studio's user 12), ``zooniverse NAME``..."""
    votes: Mapped[int]
    reliability: Mapped[float | None]
    """Chance that an answer is right, averaged over the labels as they occur, in [0, 1]."""
    low: Mapped[float | None]
    high: Mapped[float | None]
    """Central 90 % interval of `reliability`."""
    golds: Mapped[int] = mapped_column(default=0)
    """Choices on galaxies whose answer is known; 0 of numbers, which are not right or wrong."""
    golds_right: Mapped[int] = mapped_column(default=0)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """``confusion`` [k, k] (rows: truth) of a single choice, ``by_label`` of a multiple one;
    ``bias``, ``bias_error`` and ``scatter`` of a number, in its unit."""
    updated_at: Mapped[datetime]


class Verdict(Base):
    """Whether a task has votes enough."""

    __tablename__ = "verdicts"
    __table_args__ = (Index("ix_verdicts_project_state", "project_id", "state", "people"),)

    task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    state: Mapped[str] = mapped_column(String(10))
    """``open`` (more votes are wanted), ``retired`` or ``expert`` (the crowd cannot tell)."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """In a sentence."""
    people: Mapped[int] = mapped_column(default=0)
    gain: Mapped[float | None]
    """Wrong answers that one more vote is expected to spare."""
    changed_at: Mapped[datetime]


class Gold(Base):
    """A known answer to one control of one task."""

    __tablename__ = "golds"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    control: Mapped[str] = mapped_column(String(500), primary_key=True)
    labels: Mapped[list[str]] = mapped_column(default=list)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """As `Vote.answer`; None for choices."""
    source: Mapped[str] = mapped_column(String(20))
    """``ground_truth`` (flagged in Label Studio), ``file`` or ``expert``."""
    annotation_id: Mapped[int | None]
    """Of an annotation in Label Studio that is the source."""
    created_at: Mapped[datetime]


class OutsideVote(Base):
    """A vote that was not cast in Label Studio."""

    __tablename__ = "outside_votes"
    __table_args__ = (
        UniqueConstraint("project_id", "source", "classification", "control"),
        Index("ix_outside_votes_project_task", "project_id", "task_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    source: Mapped[str] = mapped_column(String(50))
    """``zooniverse``."""
    classification: Mapped[str] = mapped_column(String(100))
    """The source's own number of it."""
    task_id: Mapped[int]
    person: Mapped[str] = mapped_column(String(200))
    """With the source before it: ``zooniverse NAME``."""
    control: Mapped[str] = mapped_column(String(500))
    labels: Mapped[list[str]] = mapped_column(default=list)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """As `Vote.answer`; None for choices."""
    created_at: Mapped[datetime | None]
    lead_time: Mapped[float | None]


class Wish(Base):
    """What a manager wants of a task's place in the queue."""

    __tablename__ = "wishes"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(10))
    """``pin`` (served first), ``postpone`` (served last) or ``expert`` (taken out of the crowd)."""
    account: Mapped[str] = mapped_column(String(100), default="")
    created_at: Mapped[datetime]
