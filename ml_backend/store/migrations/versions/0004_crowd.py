"""Crowds (posteriors, skills, verdicts, golds...) and the dashboard (figures, accounts...)."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def _project(key: bool = False) -> "sa.Column[int]":
    return sa.Column("project_id", sa.Integer(), primary_key=key, nullable=False)


def _of_project(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_project_id_projects"
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=name)


def _task(key: bool = True) -> "sa.Column[int]":
    return sa.Column("task_id", sa.Integer(), primary_key=key, autoincrement=False, nullable=False)


def upgrade() -> None:
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("overlap", sa.Integer(), nullable=True))
        tasks.add_column(
            sa.Column("annotations", sa.Integer(), nullable=False, server_default=sa.text("0"))
        )
    with op.batch_alter_table("votes") as votes:
        votes.add_column(sa.Column("agrees", sa.Boolean(), nullable=True))
        votes.add_column(
            sa.Column("ground_truth", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.create_table(
        "posteriors",
        _project(True),
        sa.Column("control", sa.String(500), primary_key=True),
        _task(),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("difficulty", sa.Double(), nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        _of_project("posteriors"),
    )
    op.create_index("ix_posteriors_task_id", "posteriors", ["task_id"])
    op.create_table(
        "skills",
        _project(True),
        sa.Column("control", sa.String(500), primary_key=True),
        sa.Column("person", sa.String(200), primary_key=True),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("reliability", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("golds", sa.Integer(), nullable=False),
        sa.Column("golds_right", sa.Integer(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        _of_project("skills"),
    )
    op.create_table(
        "verdicts",
        _task(),
        _project(),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("gain", sa.Double(), nullable=True),
        sa.Column("changed_at", TIME, nullable=False),
        _of_project("verdicts"),
    )
    op.create_index("ix_verdicts_project_state", "verdicts", ["project_id", "state"])
    op.create_table(
        "golds",
        _project(True),
        _task(),
        sa.Column("control", sa.String(500), primary_key=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        _of_project("golds"),
    )
    op.create_table(
        "outside_votes",
        sa.Column("id", sa.Integer(), primary_key=True),
        _project(),
        sa.Column("source", sa.String(50), nullable=False),
        sa.Column("classification", sa.String(100), nullable=False),
        _task(False),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("control", sa.String(500), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", TIME, nullable=True),
        sa.Column("lead_time", sa.Double(), nullable=True),
        _of_project("outside_votes"),
        sa.UniqueConstraint(
            "project_id", "source", "classification", "control", name="uq_outside_votes_project_id"
        ),
    )
    op.create_index("ix_outside_votes_project_task", "outside_votes", ["project_id", "task_id"])
    op.create_table(
        "wishes",
        _project(True),
        _task(),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("account", sa.String(100), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        _of_project("wishes"),
    )
    op.create_table(
        "figures",
        _project(True),
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        _of_project("figures"),
    )
    op.create_table(
        "progress_points",
        sa.Column("id", sa.Integer(), primary_key=True),
        _project(),
        sa.Column("at", TIME, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        _of_project("progress_points"),
    )
    op.create_index("ix_progress_points_project_at", "progress_points", ["project_id", "at"])
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("password_hash", sa.String(300), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_login_at", TIME, nullable=True),
    )
    op.create_table(
        "deeds",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("account", sa.String(100), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=True),
        sa.Column("action", sa.String(30), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    op.create_index("ix_deeds_project_at", "deeds", ["project_id", "at"])


def downgrade() -> None:
    for table in (
        "deeds",
        "accounts",
        "progress_points",
        "figures",
        "wishes",
        "outside_votes",
        "golds",
        "verdicts",
        "skills",
        "posteriors",
    ):
        op.drop_table(table)
    with op.batch_alter_table("votes") as votes:
        votes.drop_column("ground_truth")
        votes.drop_column("agrees")
    with op.batch_alter_table("tasks") as tasks:
        tasks.drop_column("annotations")
        tasks.drop_column("overlap")
