"""Opening the store: made, migrated, refused; and its transactions."""

from __future__ import annotations

import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import StatementError
from stand_ins import settings_of

from ml_backend.errors import SettingsError, StoreError
from ml_backend.store import database
from ml_backend.store.database import HEAD, open_store
from ml_backend.store.tables import Base, Project


def test_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    folder = Path(database.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [HEAD]
    store.close()


def test_what_was_kept_is_there_after_opening_again(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    store.projects.save(3, "Rings", "<View/>", {"strategy": "entropy"})
    store.close()
    store = open_store(settings_of(tmp_path))
    project = store.projects.get(3)
    assert project is not None
    assert (project.title, project.options) == ("Rings", {"strategy": "entropy"})
    store.close()


def test_two_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def opening() -> None:
        try:
            open_store(settings_of(tmp_path)).close()
        except Exception as error:  # noqa: BLE001  it is looked at below
            errors.append(error)

    threads = [threading.Thread(target=opening) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    open_store(settings_of(tmp_path)).close()
    with sqlite3.connect(tmp_path / "galaxyloop.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"schema 9999.*newer"):
        open_store(settings_of(tmp_path))


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "galaxyloop.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(settings_of(tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="MODEL_DIR"):
        open_store(settings_of(tmp_path / "file" / "data"))


@pytest.mark.parametrize("url", ["nonsense", "nodatabase://x/y"])
def test_a_wrong_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_DATABASE_URL"):
        open_store(settings_of(tmp_path, database_url=url))


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is an optional extra")
    url = "postgresql+psycopg://user:secret-word@127.0.0.1:1/galaxyloop"
    with pytest.raises(StoreError) as caught:
        open_store(settings_of(tmp_path, database_url=url))
    assert "secret-word" not in str(caught.value)


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    with store.engine.connect() as connection:

        def pragma(name: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 1
        assert pragma("busy_timeout") == 30000
        assert pragma("foreign_keys") == 1
    store.close()


def test_an_error_rolls_back(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))

    def half_done() -> None:
        with store.session() as session:
            session.add(Project(id=1, created_at=datetime.now(UTC)))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_done()
    assert store.projects.get(1) is None
    store.close()


def test_readers_do_not_wait_for_a_writer_and_writers_wait_for_one_another(
    tmp_path: Path,
) -> None:
    store = open_store(settings_of(tmp_path))
    store.projects.save(1, "Before")
    writing, go = threading.Event(), threading.Event()

    def slow() -> None:
        with store.session() as session:
            project = session.get(Project, 1)
            assert project is not None
            project.title = "After"
            session.flush()
            writing.set()
            go.wait(10)

    thread = threading.Thread(target=slow)
    thread.start()
    assert writing.wait(10)
    began = time.monotonic()
    project = store.projects.get(1)
    assert time.monotonic() - began < 1
    assert project is not None
    assert project.title == "Before"
    threading.Timer(0.2, go.set).start()
    store.projects.save(1, backend_id=5)
    thread.join()
    project = store.projects.get(1)
    assert project is not None
    assert (project.title, project.backend_id) == ("After", 5)
    store.close()


def test_times_keep_their_zone(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    time_there = datetime(2026, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    store.projects.save(1, swept_at=time_there)
    project = store.projects.get(1)
    assert project is not None
    assert project.swept_at == time_there
    assert project.swept_at.tzinfo is UTC
    with pytest.raises(StatementError, match="without a zone"):
        store.projects.save(1, swept_at=datetime(2026, 5, 1))
    store.close()


def test_options_fall_back_to_the_settings(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    project = store.projects.save(1, options={"top_k": 7, "diversity": False})
    option = store.projects.option
    assert (option(project, "top_k"), option(project, "diversity")) == (7, False)
    project = store.projects.save(1, options={"top_k": None})
    assert option(project, "top_k") == 20
    with pytest.raises(StoreError, match="colour"):
        store.projects.save(1, options={"colour": "blue"})
    with pytest.raises(StoreError, match="no column"):
        store.projects.save(1, colour="blue")
    store.close()


def test_the_webhook_secret_is_made_once_and_kept_to_ourselves(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    secret = store.webhook_secret()
    assert len(secret) >= 32
    assert store.webhook_secret() == secret
    path = tmp_path / "webhook-secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.glob(".webhook*")] == []
    path.write_text("")
    with pytest.raises(StoreError, match="is empty"):
        store.webhook_secret()
    store.close()
    given = open_store(settings_of(tmp_path, webhook_secret="mine"))
    assert given.webhook_secret() == "mine"
    given.close()
