"""``POST /webhook``: Label Studio says that something changed; we note it and answer at once.

Label Studio calls from inside the annotator's Submit and waits one second for events and a hundred
for START_TRAINING, so nothing but one short write happens here. What changed is read back through
the API by the worker.
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from flask import Blueprint, request

from ml_backend.labelstudio.events import ACTIONS, PROJECT_UPDATED
from ml_backend.protocol.hints import HintWriter
from ml_backend.protocol.payloads import HookEvent, HookProject, parse, read_json
from ml_backend.protocol.security import Gate, unauthorised, wrong_secret
from ml_backend.protocol.setup import current_version
from ml_backend.store.database import Store

log = structlog.get_logger(__name__)

START_TRAINING: Final = "START_TRAINING"
# The other actions are accepted and left alone.
HINTS: Final = frozenset({START_TRAINING, *ACTIONS})


def create_webhook(store: Store, gate: Gate, hints: HintWriter) -> Blueprint:
    """Return the blueprint of ``/webhook``; `hints` is what writes.

    Events must carry our secret, since Label Studio sends them without basic auth;
    START_TRAINING comes with basic auth (if any is set) and without the secret.
    """
    blueprint = Blueprint("webhook", __name__)

    @blueprint.post("/webhook")
    def webhook() -> dict[str, Any]:
        trusted, known = gate.trusts(request), gate.knows(request)
        if not trusted and not known:
            raise wrong_secret() if gate.asks and not request.authorization else unauthorised()
        event = parse(HookEvent, read_json(request))
        if not trusted and event.action != START_TRAINING:
            raise wrong_secret()
        if not known and event.action == START_TRAINING:
            raise unauthorised()
        if event.action not in HINTS:
            return {"status": "ignored", "why": "This action changes nothing here."}
        if event.project is None:
            return {"status": "ignored", "why": "The event names no project."}
        why = _record(store, hints, event.action, event.project)
        if why:
            log.info("hint_ignored", action=event.action, project=event.project.id, why=why)
            return {"status": "ignored", "why": why}
        return {"status": "noted"}

    return blueprint


def _record(store: Store, hints: HintWriter, action: str, sent: HookProject) -> str | None:
    """Have one hint written; return why not, if not."""
    if action == PROJECT_UPDATED:
        # Our own switch of project.model_version comes back as PROJECT_UPDATED: only a changed
        # labelling configuration is news, else rounds would start rounds.
        project = store.projects.get(sent.id)
        if project is not None and sent.label_config in (None, project.label_config):
            return "The labelling configuration is the one we know."
    _, connected = current_version(store, sent.id)
    if not connected:
        return "The project is not connected; run `galaxyloop connect`."
    hints.write(sent.id, action)
    return None
