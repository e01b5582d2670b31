"""Label Studio's projects, webhooks and ML backends, and the server itself."""

from __future__ import annotations

from typing import Any

from ml_backend.labelstudio.calls import Calls, Json


class Administration(Calls):
    """Calls about the server, projects, webhooks and ML backends."""

    def health(self, timeout: float = 5.0) -> bool:
        """Whether Label Studio answers, asked with no token."""
        self._transport.health(timeout)
        return True

    def clock_skew(self) -> float:
        """Return by how many seconds Label Studio's clock is ahead of ours (to about 1 s)."""
        return self._transport.clock_skew()

    def version(self) -> str:
        """Return Label Studio's version, e.g. "1.23.2"."""
        answer = self._object(self._call("GET", "/api/version"), "/api/version")
        return str(answer.get("release", ""))

    def current_user(self) -> Json:
        """Return the account that the token belongs to (id, email, ...)."""
        return self._object(self._call("GET", "/api/current-user/whoami"), "whoami")

    def users(self) -> list[Json]:
        """Return the users of the organisation (id, email, username, first_name, last_name)."""
        return self._list(self._call("GET", "/api/users/"), "/api/users/")

    def projects(self) -> list[Json]:
        """Return all projects that the account sees."""
        found: list[Json] = []
        page = 1
        while True:
            answer = self._object(
                self._call("GET", "/api/projects/", params={"page": page, "page_size": 100}),
                "/api/projects/",
            )
            found += self._list(answer.get("results"), "/api/projects/")
            if not answer.get("next"):
                return found
            page += 1

    def project(self, project: int) -> Json:
        """Return one project: label_config, model_version, sampling, counts and more."""
        return self._object(self._call("GET", f"/api/projects/{project}/"), "the project")

    def create_project(self, title: str, label_config: str, **fields: Any) -> Json:
        """Create a project; the title needs 3 to 50 characters."""
        body = {"title": title, "label_config": label_config, **fields}
        return self._object(self._call("POST", "/api/projects/", body=body), "the project")

    def update_project(self, project: int, **fields: Any) -> Json:
        """Change fields of a project.

        ``model_version`` is accepted only if predictions of that version (or a backend of that
        title) exist; else 400. ``show_collab_predictions=False`` sets ``model_version`` to "": give
        it again in a second call where the order shall stay.
        """
        answer = self._call("PATCH", f"/api/projects/{project}/", body=fields)
        return self._object(answer, "the project")

    def webhooks(self, project: int | None = None) -> list[Json]:
        """Return the webhooks of the organisation, or those that one project's events reach."""
        params = {} if project is None else {"project": project}
        return self._list(self._call("GET", "/api/webhooks/", params=params), "the webhooks")

    def create_webhook(self, url: str, **fields: Any) -> Json:
        """Create a webhook; ``project``, ``headers``, ``actions``, ``send_for_all_actions``."""
        return self._object(
            self._call("POST", "/api/webhooks/", body={"url": url, **fields}), "the webhook"
        )

    def update_webhook(self, webhook: int, **fields: Any) -> Json:
        """Change fields of a webhook."""
        return self._object(
            self._call("PATCH", f"/api/webhooks/{webhook}/", body=fields), "the webhook"
        )

    def delete_webhook(self, webhook: int) -> None:
        """Delete a webhook; one that is already gone is no error."""
        self._delete(f"/api/webhooks/{webhook}/")

    def backends(self, project: int) -> list[Json]:
        """Return the ML backends of a project; Label Studio calls each one's /health and /setup."""
        answer = self._call("GET", "/api/ml/", params={"project": project})
        return self._list(answer, "the ML backends")

    def attach_backend(
        self,
        project: int,
        url: str,
        title: str,
        user: str = "",
        password: str = "",
        backend: int | None = None,
    ) -> Json:
        """Attach an ML backend to a project, or change an attached one.

        Parameters
        ----------
        project : int
            Id of the project.
        url : str
            Address of the backend as Label Studio reaches it.
        title : str
            Shown to people; Label Studio may also write it into the project's ``model_version``.
        user, password : str
            HTTP basic auth; none if `user` is empty.
        backend : int, optional
            Id of the attached backend to change.
        """
        body: Json = {
            "project": project,
            "url": url,
            "title": title,
            "is_interactive": True,
            "auth_method": "BASIC_AUTH" if user else "NONE",
        }
        if user:
            body |= {"basic_auth_user": user, "basic_auth_pass": password}
        if backend is None:
            return self._object(self._call("POST", "/api/ml/", body=body), "the ML backend")
        return self._object(self._call("PATCH", f"/api/ml/{backend}", body=body), "the ML backend")

    def delete_backend(self, backend: int) -> None:
        """Detach an ML backend; its webhook stays."""
        self._delete(f"/api/ml/{backend}")
