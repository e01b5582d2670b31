"""The tables of the dashboard: kept figures, accounts, and who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ml_backend.store.tables import Base


class Figure(Base):
    """What a page shows of a project, counted by the worker so that no page counts."""

    __tablename__ = "figures"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    at: Mapped[datetime]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)


class VoteTally(Base):
    """Votes, or skips, of one person on one day; kept up by `store.vote_tallies`."""

    __tablename__ = "vote_tallies"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    annotator: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Label Studio's user; 0 where it names nobody."""
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    """UTC (``2026-11-23``); empty where the time is not known."""
    skipped: Mapped[bool] = mapped_column(primary_key=True)
    votes: Mapped[int]
    """Rows of `Vote`."""
    annotations: Mapped[int]
    seconds: Mapped[float]
    """Sum of the lead times that are known."""
    timed: Mapped[int]
    """Votes whose lead time is known."""


class ProgressPoint(Base):
    """How far a project was after a round."""

    __tablename__ = "progress_points"
    __table_args__ = (Index("ix_progress_points_project_at", "project_id", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    at: Mapped[datetime]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Account(Base):
    """Who may read the dashboard, or act in it."""

    __tablename__ = "accounts"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    password_hash: Mapped[str] = mapped_column(String(300))
    role: Mapped[str] = mapped_column(String(10), default="viewer")
    """``viewer`` (reads) or ``manager`` (may act)."""
    created_at: Mapped[datetime]
    last_login_at: Mapped[datetime | None]


class Deed(Base):
    """Something that somebody did by the dashboard or a command: the audit log."""

    __tablename__ = "deeds"
    __table_args__ = (Index("ix_deeds_project_at", "project_id", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    account: Mapped[str] = mapped_column(String(100))
    project_id: Mapped[int | None]
    action: Mapped[str] = mapped_column(String(30))
    """``rollback``, ``pin``, ``login``..."""
    subject: Mapped[str] = mapped_column(Text, default="")
    """What it was done to: a version, a task..."""
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
