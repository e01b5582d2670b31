"""What all calls to Label Studio share: the way there, and the shapes of answers."""

from __future__ import annotations

from typing import Any, Self

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.transport import Transport
from ml_backend.settings import Settings

Json = dict[str, Any]


class Calls:
    """One account on one Label Studio.

    Parameters
    ----------
    url : str
        Address of Label Studio.
    api_key : str
        Legacy token or personal access token.
    timeout : float
        Seconds without an answer after which a call is given up.
    transport : Transport, optional
        Used instead of one made from the other parameters.
    """

    def __init__(
        self,
        url: str = "",
        api_key: str = "",
        timeout: float = 60.0,
        transport: Transport | None = None,
    ) -> None:
        self._transport = transport or Transport(url, api_key, timeout)
        self._call = self._transport.call

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make the client that the settings name."""
        return cls(
            settings.label_studio_url,
            settings.label_studio_api_key.get_secret_value(),
            settings.label_studio_timeout,
        )

    @property
    def url(self) -> str:
        """Address of Label Studio, with no trailing slash."""
        return self._transport.url

    @property
    def token_kind(self) -> str:
        """Kind of token in use: "none", "legacy", "personal" or "access"."""
        return self._transport.token_kind

    def authorization(self) -> str | None:
        """Return the ``Authorization`` header (a secret) for files that Label Studio keeps."""
        return self._transport.authorization()

    def _delete(self, path: str) -> None:
        try:
            self._call("DELETE", path)
        except LabelStudioError as error:
            if error.status != 404:
                raise

    @staticmethod
    def _object(answer: Any, what: str) -> Json:
        if not isinstance(answer, dict):
            raise LabelStudioError(
                f"Label Studio's answer about {what} is not an object. Check that LABEL_STUDIO_URL "
                "leads to Label Studio, and that its version is supported (1.23 is)."
            )
        return answer

    @staticmethod
    def _list(answer: Any, what: str) -> list[Any]:
        if not isinstance(answer, list):
            raise LabelStudioError(
                f"Label Studio's answer about {what} is not a list. Check that LABEL_STUDIO_URL "
                "leads to Label Studio, and that its version is supported (1.23 is)."
            )
        return answer
