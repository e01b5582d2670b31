"""Every setting once: name, default, meaning. All are read from the environment or an ``.env``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ml_backend.errors import SettingsError

Strategy = Literal[
    "least_confidence",
    "margin",
    "entropy",
    "vote_entropy",
    "consensus_entropy",
    "ranked_batch",
]


class Settings(BaseSettings):
    """Settings of the backend and the worker.

    The names that Label Studio backends share (``LABEL_STUDIO_URL``, ``PORT``...) carry no
    prefix; our own begin with ``GALAXYLOOP_``.
    """

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    label_studio_url: str = Field(
        "http://127.0.0.1:8080", alias="LABEL_STUDIO_URL", description="Address of Label Studio."
    )
    label_studio_public_url: str = Field(
        "",
        alias="GALAXYLOOP_LABEL_STUDIO_PUBLIC_URL",
        description="Address of Label Studio in people's browsers; empty: LABEL_STUDIO_URL.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        alias="LABEL_STUDIO_API_KEY",
        description="Personal access token or legacy token of the account we act as.",
    )
    basic_auth_user: str = Field(
        "", alias="BASIC_AUTH_USER", description="User of our HTTP basic auth; empty: no auth."
    )
    basic_auth_pass: SecretStr = Field(
        SecretStr(""), alias="BASIC_AUTH_PASS", description="Password of our HTTP basic auth."
    )
    model_dir: Path = Field(
        Path("galaxyloop-data"),
        alias="MODEL_DIR",
        description="Folder of everything kept: database, embeddings, model versions.",
    )
    host: str = Field("127.0.0.1", alias="HOST", description="Address that the backend binds to.")
    port: int = Field(9090, alias="PORT", ge=1, le=65535, description="Port of the backend.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="LOG_LEVEL", description="Least severe level that is logged."
    )

    backend_url: str = Field(
        "",
        alias="GALAXYLOOP_BACKEND_URL",
        description="Address under which Label Studio reaches us; empty: http://HOST:PORT.",
    )
    public_url: str = Field(
        "",
        alias="GALAXYLOOP_PUBLIC_URL",
        description="Address of the backend in people's browsers; empty: GALAXYLOOP_BACKEND_URL.",
    )
    database_url: str = Field(
        "",
        alias="GALAXYLOOP_DATABASE_URL",
        description="SQLAlchemy address; empty: SQLite in MODEL_DIR.",
    )
    queue_url: str = Field(
        "",
        alias="GALAXYLOOP_QUEUE_URL",
        description="redis://... for the job queue; empty: SQLite in MODEL_DIR.",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        alias="GALAXYLOOP_WEBHOOK_SECRET",
        description="Secret that webhooks must carry; empty: made once and kept in MODEL_DIR.",
    )
    picture_secret: SecretStr = Field(
        SecretStr(""),
        alias="GALAXYLOOP_PICTURE_SECRET",
        description="Secret that addresses of pictures are signed with; empty: made once and "
        "kept in MODEL_DIR.",
    )
    picture_days: float = Field(
        0.0,
        alias="GALAXYLOOP_PICTURE_DAYS",
        ge=0,
        le=36500,
        description="Days for which new addresses of pictures are good; 0: always.",
    )
    picture_cache_bytes: int = Field(
        2**30,
        alias="GALAXYLOOP_PICTURE_CACHE_BYTES",
        ge=0,
        description="Most bytes of drawn pictures that are kept in MODEL_DIR.",
    )
    max_picture_requests: int = Field(
        8,
        alias="GALAXYLOOP_MAX_PICTURE_REQUESTS",
        gt=0,
        description="Most pictures fetched and drawn at once; more are answered 503.",
    )
    lvm: str = Field(
        "",
        alias="GALAXYLOOP_LVM",
        description="Folder of the LVM or of a Hugging Face vision encoder, or hub:OWNER/NAME; "
        "empty: the LVM that we ship.",
    )
    image_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="GALAXYLOOP_IMAGE_HOSTS",
        description="Hosts (host or host:port, comma separated) that images may come from, "
        "besides Label Studio's own.",
    )
    image_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        alias="GALAXYLOOP_IMAGE_FOLDERS",
        description="Folders (comma separated) that local-files addresses may be read from.",
    )
    image_max_bytes: int = Field(
        64 * 2**20, alias="GALAXYLOOP_IMAGE_MAX_BYTES", gt=0, description="Largest image file."
    )
    image_max_pixels: int = Field(
        64_000_000,
        alias="GALAXYLOOP_IMAGE_MAX_PIXELS",
        gt=0,
        description="Most pixels (width x height) of an image.",
    )
    image_timeout: float = Field(
        10.0, alias="GALAXYLOOP_IMAGE_TIMEOUT", gt=0, description="Seconds to fetch one image."
    )
    label_studio_timeout: float = Field(
        60.0, alias="GALAXYLOOP_LABEL_STUDIO_TIMEOUT", gt=0, description="Seconds per API call."
    )
    max_body_bytes: int = Field(
        32 * 2**20, alias="GALAXYLOOP_MAX_BODY_BYTES", gt=0, description="Largest request body."
    )
    max_predict_tasks: int = Field(
        1000, alias="GALAXYLOOP_MAX_PREDICT_TASKS", gt=0, description="Most tasks in a /predict."
    )
    max_predict_requests: int = Field(
        8,
        alias="GALAXYLOOP_MAX_PREDICT_REQUESTS",
        gt=0,
        description="Most /predict requests at work at once; more are answered 503.",
    )
    votes_per_round: int = Field(
        10, alias="GALAXYLOOP_VOTES_PER_ROUND", ge=1, description="New votes that start a round."
    )
    seconds_per_round: float = Field(
        60.0,
        alias="GALAXYLOOP_SECONDS_PER_ROUND",
        gt=0,
        description="Seconds after which a single new vote starts a round.",
    )
    debounce_seconds: float = Field(
        1.0,
        alias="GALAXYLOOP_DEBOUNCE_SECONDS",
        ge=0,
        description="Quiet time after a vote before a round starts, so that bursts coalesce.",
    )
    poll_seconds: float = Field(
        300.0,
        alias="GALAXYLOOP_POLL_SECONDS",
        gt=0,
        description="Seconds between reconciliations when no webhook comes.",
    )
    top_k: int = Field(
        200, alias="GALAXYLOOP_TOP_K", ge=1, description="Tasks ranked in Label Studio per round."
    )
    strategy: Strategy = Field(
        "margin", alias="GALAXYLOOP_STRATEGY", description="Default query strategy of a project."
    )
    audit_fraction: float = Field(
        0.1,
        alias="GALAXYLOOP_AUDIT_FRACTION",
        ge=0,
        le=0.5,
        description="Share of served tasks that are drawn at random for unbiased measurement.",
    )
    explore: float = Field(
        0.25,
        alias="GALAXYLOOP_EXPLORE",
        ge=0,
        le=1,
        description="Where a project marks what is of interest: share of its queue that goes by "
        "doubt instead.",
    )
    most_people: int = Field(
        1,
        alias="GALAXYLOOP_MOST_PEOPLE",
        ge=1,
        le=1000,
        description="Most people who are asked about one galaxy. 1: one vote each; more: further "
        "votes are asked for where they are worth most.",
    )
    retire_confidence: float = Field(
        0.95,
        alias="GALAXYLOOP_RETIRE_CONFIDENCE",
        gt=0.5,
        lt=1,
        description="How sure the votes must be together before a galaxy is asked about no more.",
    )
    experts: Annotated[tuple[int, ...], NoDecode] = Field(
        (),
        alias="GALAXYLOOP_EXPERTS",
        description="Label Studio's user numbers (comma separated) of experts: their answers are "
        "taken as known.",
    )
    gold_fraction: float = Field(
        0.1,
        alias="GALAXYLOOP_GOLD_FRACTION",
        ge=0,
        le=0.5,
        description="Share of served tasks whose answer is known, in projects that ask several "
        "people, where there are such tasks.",
    )
    blind_audit: bool = Field(
        True,
        alias="GALAXYLOOP_BLIND_AUDIT",
        description="Whether tasks that measure (audit arm, known answers) are served without a "
        "suggestion.",
    )
    overlap_seconds: float = Field(
        20.0,
        alias="GALAXYLOOP_OVERLAP_SECONDS",
        ge=0,
        description="Longest time that a round spends on opening and closing single tasks for "
        "votes; the rest waits for the next round.",
    )
    versions_kept: int = Field(
        10, alias="GALAXYLOOP_VERSIONS_KEPT", ge=2, description="Model versions kept on disk."
    )
    tune_from: int = Field(
        320,
        alias="GALAXYLOOP_TUNE_FROM",
        ge=0,
        description="Labelled galaxies from which on the worker tries to tune the LVM; 0: never.",
    )
    seed: int = Field(0, alias="GALAXYLOOP_SEED", description="Seed of every random choice.")

    @field_validator("image_hosts", "image_folders", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("experts", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        if isinstance(value, int):
            return (value,)
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("lvm", mode="before")
    @classmethod
    def _source(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value or ""

    @field_validator("label_studio_url", "label_studio_public_url", "backend_url", "public_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @property
    def own_url(self) -> str:
        """Address under which Label Studio reaches this backend."""
        return self.backend_url or f"http://{self.host}:{self.port}"

    @property
    def browser_url(self) -> str:
        """Address under which people's browsers reach this backend."""
        return self.public_url or self.own_url

    @property
    def store_url(self) -> str:
        """SQLAlchemy address of the store."""
        return self.database_url or f"sqlite:///{self.model_dir.resolve() / 'galaxyloop.sqlite3'}"


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; `overrides` (by field name or alias) win.

    Raises
    ------
    SettingsError
        One line per setting that cannot be used.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        ]
        raise SettingsError("These settings cannot be used:\n  " + "\n  ".join(lines)) from None


@lru_cache(maxsize=1)
def environment_settings() -> Settings:
    """Return the settings of this process, read once."""
    return load_settings()
