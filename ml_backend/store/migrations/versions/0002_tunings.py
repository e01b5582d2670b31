"""The tries to tune the LVM to a project."""

import sqlalchemy as sa
from alembic import op

from ml_backend.store.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tunings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("base_identity", sa.String(length=64), nullable=False),
        sa.Column("lvm_identity", sa.String(length=64), nullable=True),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_tunings_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tunings")),
    )
    op.create_index("ix_tunings_project_id", "tunings", ["project_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_tunings_project_id", table_name="tunings")
    op.drop_table("tunings")
