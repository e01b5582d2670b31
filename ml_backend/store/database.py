"""The store's database: opened, migrated, and given out in short transactions."""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ml_backend.errors import SettingsError, StoreError
from ml_backend.pictures.addresses import PictureAddresses
from ml_backend.settings import Settings
from ml_backend.store.accounts import AccountStore
from ml_backend.store.embeddings import EmbeddingStore
from ml_backend.store.jobs import JobStore
from ml_backend.store.projects import ProjectStore
from ml_backend.store.secrets import dashboard_secret, picture_secret, webhook_secret
from ml_backend.store.tunings import TuningStore

HEAD = "0005"
"""Newest revision of the schema that this program knows."""

_CACHE_KIB = 64 * 1024
"""Most memory of one SQLite connection for pages of the file, in KiB."""
_LOCK_KEY = 0x6761_6C61  # any constant will do, for PostgreSQL's advisory lock
_log = structlog.get_logger(__name__)


class Store:
    """Everything that is kept: database, embeddings and version files.

    Made by :func:`open_store`. Rows that leave a session stay readable.

    Attributes
    ----------
    settings : Settings
    folder : Path
        ``settings.model_dir``.
    jobs : JobStore
    projects : ProjectStore
    tunings : TuningStore
    accounts : AccountStore
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.folder = settings.model_dir
        self.engine = engine
        self._write = sessionmaker(
            engine.execution_options(galaxyloop_write=True), expire_on_commit=False
        )
        self._read = sessionmaker(engine, expire_on_commit=False)
        self.jobs = JobStore(self.session, self.reading)
        self.projects = ProjectStore(self.session, self.reading, settings)
        self.tunings = TuningStore(self.session, self.reading)
        self.accounts = AccountStore(self.session, self.reading)
        self._embeddings: dict[str, EmbeddingStore] = {}
        self._lock = threading.Lock()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Give out a session that may write; commits at the end, rolls back on an error.

        Keep it short: no computation and no network inside. On SQLite it takes the write lock
        at once, so that two writers wait for one another instead of failing.
        """
        with self._write.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give out a session that only reads; on SQLite it never waits for writers."""
        with self._read() as session:
            yield session

    def embeddings(self, lvm_identity: str, dimension: int | None = None) -> EmbeddingStore:
        """Return the embeddings of one LVM, opened once per process.

        Raises
        ------
        StoreError
            They cannot be opened, or there are none yet and `dimension` is not given.
        """
        with self._lock:
            if lvm_identity not in self._embeddings:
                folder = self.folder / "embeddings"
                self._embeddings[lvm_identity] = EmbeddingStore(folder, lvm_identity, dimension)
            return self._embeddings[lvm_identity]

    def forget_embeddings(self, lvm_identity: str) -> None:
        """Delete the embeddings of an LVM that is used no more; missing ones are no error."""
        with self._lock:
            opened = self._embeddings.pop(lvm_identity, None)
            if opened is not None:
                opened.close()
            shutil.rmtree(self.folder / "embeddings" / lvm_identity, ignore_errors=True)

    def webhook_secret(self) -> str:
        """Return the secret that webhooks must carry, made once when it is not set."""
        return webhook_secret(self.settings)

    def picture_secret(self) -> str:
        """Return the secret that signs addresses of pictures, made once when it is not set."""
        return picture_secret(self.settings)

    def dashboard_secret(self) -> str:
        """Return the secret that signs the dashboard's cookies, made once."""
        return dashboard_secret(self.settings)

    def picture_addresses(self) -> PictureAddresses:
        """Return what makes and reads the addresses of our pictures."""
        days = self.settings.picture_days
        return PictureAddresses(self.picture_secret(), self.settings.browser_url, days)

    def close(self) -> None:
        """Close all connections and files."""
        for embeddings in self._embeddings.values():
            embeddings.close()
        self._embeddings.clear()
        self.engine.dispose()


def open_store(settings: Settings) -> Store:
    """Open the store of these settings, making or migrating it first where needed.

    Raises
    ------
    StoreError
        The folder cannot be written, the database cannot be opened, or it was made by a newer
        GalaxyLoop.
    SettingsError
        ``GALAXYLOOP_DATABASE_URL`` is not an address that can be used.
    """
    folder = settings.model_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The data folder {folder} cannot be made ({error.strerror}). "
            "Set MODEL_DIR to a folder that this account may write."
        ) from error
    engine = _engine(settings)
    try:
        with _migration_lock(folder):
            _migrate(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        shown = make_url(settings.store_url).render_as_string(hide_password=True)
        raise StoreError(
            f"The database {shown} cannot be opened: {_reason(error)}. "
            "Check that it runs, that the account may write, and that the file is not damaged."
        ) from error
    return Store(settings, engine)


def _engine(settings: Settings) -> Engine:
    try:
        url = make_url(settings.store_url)
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
            _use_sqlite_well(engine)
        else:
            engine = create_engine(url, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(
            f"GALAXYLOOP_DATABASE_URL cannot be used: {_reason(error)}. Give an address like "
            "postgresql+psycopg://user:password@host/database (and install galaxyloop[postgresql])"
            ", or leave it empty for SQLite."
        ) from error
    return engine


def _use_sqlite_well(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        # With the 2 MB that are usual a million rows are read from the file again and again.
        cursor.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("galaxyloop_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _migration_lock(folder: Path) -> Iterator[None]:
    with open(folder / ".migrate.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == HEAD:
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"The database has schema {current}, which this GalaxyLoop does not know: a newer one "
            "made it. Install that GalaxyLoop again, or use another MODEL_DIR."
        )
    with engine.execution_options(galaxyloop_write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    _log.info("database_migrated", from_revision=current, to_revision=HEAD)


def _reason(error: Exception) -> str:
    inner = getattr(error, "orig", None) or error
    return str(inner).splitlines()[0].rstrip(".") if str(inner) else type(inner).__name__
