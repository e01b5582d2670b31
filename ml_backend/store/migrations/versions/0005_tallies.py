"""Tallies of votes by person and day, and indices to count tasks and verdicts by."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BROKEN = sa.text("problem IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "vote_tallies",
        sa.Column("project_id", sa.Integer(), primary_key=True, nullable=False),
        sa.Column("annotator", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("skipped", sa.Boolean(), primary_key=True),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("annotations", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("timed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_vote_tallies_project_id_projects"
        ),
    )
    op.create_index("ix_tasks_project_state", "tasks", ["project_id", "removed", "is_labeled"])
    op.create_index(
        "ix_tasks_project_broken",
        "tasks",
        ["project_id"],
        sqlite_where=BROKEN,
        postgresql_where=BROKEN,
    )
    op.drop_index("ix_verdicts_project_state", "verdicts")
    op.create_index("ix_verdicts_project_state", "verdicts", ["project_id", "state", "people"])


def downgrade() -> None:
    op.drop_index("ix_verdicts_project_state", "verdicts")
    op.create_index("ix_verdicts_project_state", "verdicts", ["project_id", "state"])
    op.drop_index("ix_tasks_project_broken", "tasks")
    op.drop_index("ix_tasks_project_state", "tasks")
    op.drop_table("vote_tallies")
