"""The web application: Label Studio's wire contract and a page for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING

import structlog
from flask import Flask, Response, request

from ml_backend.dashboard.checkups import Checkups, Finding
from ml_backend.dashboard.contents import PAGES
from ml_backend.dashboard.login import PREFIX
from ml_backend.dashboard.problem_page import problem_page
from ml_backend.dashboard.site import DashboardContext, register_dashboard
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.pictures.cache import PictureCache
from ml_backend.pictures.drawing import PictureMaker
from ml_backend.protocol.health import create_health
from ml_backend.protocol.hints import HintWriter
from ml_backend.protocol.metrics import register_metrics
from ml_backend.protocol.pictures import ENDPOINT, create_pictures
from ml_backend.protocol.predict import Predicts, create_predict
from ml_backend.protocol.problems import register_problems
from ml_backend.protocol.security import Gate, register_security
from ml_backend.protocol.setup import create_setup
from ml_backend.protocol.status import HOME, create_status
from ml_backend.protocol.versions import create_versions
from ml_backend.protocol.webhook import create_webhook
from ml_backend.settings import Settings, environment_settings
from ml_backend.store.database import Store, open_store

if TYPE_CHECKING:
    from ml_backend.loop.prediction import Predictor

log = structlog.get_logger(__name__)


class Predictors:
    """One predictor per project, made when it is first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._made: dict[int, Predictor] = {}

    def __call__(self, project_id: int) -> Predictor:
        """Return the predictor of a project."""
        # Importing torch takes seconds, in which /health must answer already.
        from ml_backend.loop.prediction import Predictor

        with self._lock:
            if project_id not in self._made:
                self._made[project_id] = Predictor(self._store, project_id)
            return self._made[project_id]

    def warm_up(self) -> None:
        """Load what the first request of each project would otherwise wait for."""
        import models.images  # noqa: F401 - the first picture should not wait for torch

        for project in self._store.projects.listing():
            try:
                self(project.id).warm_up()
            except Exception:
                log.exception("warm_up_failed", project=project.id)


def create_app(
    settings: Settings | None = None,
    store: Store | None = None,
    *,
    predictor_of: Callable[[int], Predicts] | None = None,
    check: Callable[[], Sequence[Finding]] | None = None,
) -> Flask:
    """Make the web application.

    Nothing heavy happens here: the LVM and the heads are loaded by the first ``/predict`` or by
    ``app.extensions["galaxyloop"].warm_up()``.

    Parameters
    ----------
    settings : Settings, optional
        By default those of the environment.
    store : Store, optional
        By default the one of the settings, opened (and migrated) here.
    predictor_of : callable, optional
        Project id to what predicts for it; by default `Predictors`.
    check : callable, optional
        Returns the doctor's findings; by default `ml_backend.connection.doctor`.

    Raises
    ------
    StoreError
        If the store cannot be opened.
    """
    settings = settings or environment_settings()
    store = store or open_store(settings)
    secret = store.webhook_secret()
    addresses = store.picture_addresses()
    gate = Gate(settings.basic_auth_user, settings.basic_auth_pass.get_secret_value(), secret)
    predictors = Predictors(store)
    maker = PictureMaker(
        ImageFetcher(settings, LabelStudioClient.from_settings(settings), addresses),
        PictureCache(store.folder / "pictures", settings.picture_cache_bytes),
        settings.image_max_bytes,
        settings.image_max_pixels,
    )

    app = Flask("ml_backend", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["galaxyloop"] = predictors

    register_metrics(app, store)
    register_security(app, gate, {ENDPOINT, HOME})
    register_problems(app, problem_page)
    if settings.log_level == "DEBUG":
        _register_log(app)
    app.register_blueprint(create_health())
    app.register_blueprint(create_setup(store))
    app.register_blueprint(create_predict(settings, store, predictor_of or predictors))
    hints = app.extensions["galaxyloop.hints"] = HintWriter(store)
    app.register_blueprint(create_webhook(store, gate, hints))
    app.register_blueprint(create_versions(store))
    app.register_blueprint(create_pictures(addresses, maker, settings.max_picture_requests))
    checkups = Checkups(check or (lambda: _doctor(settings, store)))
    app.register_blueprint(create_status(store, gate, f"{PREFIX}/", checkups.as_json))
    context = DashboardContext(
        settings, store, maker, checkups, lambda: LabelStudioClient.from_settings(settings)
    )
    register_dashboard(app, context, PAGES, store.dashboard_secret())
    return app


def _doctor(settings: Settings, store: Store) -> Sequence[Finding]:
    from ml_backend.connection import doctor

    findings: Sequence[Finding] = doctor(settings, store)
    return findings


def _register_log(app: Flask) -> None:
    @app.after_request
    def _log(response: Response) -> Response:
        # Not the query string, nor what a rule leaves open: bodies and they may carry secrets.
        path = request.url_rule.rule if request.url_rule else request.path
        log.debug("request", method=request.method, path=path, status=response.status_code)
        return response
