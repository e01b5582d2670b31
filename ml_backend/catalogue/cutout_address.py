"""Addresses of cut-outs on a survey's server, as a template with fields."""

from __future__ import annotations

import string
from urllib.parse import parse_qs, quote, urlsplit

from ml_backend.bulk.items import SourceError
from ml_backend.catalogue.positions import Position
from ml_backend.labelstudio.addresses import HostRules
from ml_backend.settings import Settings

FIELDS = ("ra", "dec", "size", "pixscale", "bands", "id")


class Template:
    """Address of a cut-out with fields in braces: {ra}, {dec}, {size}, {pixscale}, {bands}, {id}.

    Parameters
    ----------
    text : str
        http(s), with at least {ra} and {dec}, none of them in the host.
    size : int
        Pixels a side.
    pixel_scale : float
        Arcseconds per pixel.
    bands : str
        e.g. "grz".

    Raises
    ------
    SourceError
        It is no such template.
    """

    def __init__(self, text: str, size: int, pixel_scale: float, bands: str) -> None:
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise SourceError(f"The cut-out address {text!r} cannot be read: {error}.") from None
        named = [part[1] for part in parsed if part[1] is not None]
        unknown = [name for name in named if name not in FIELDS]
        if unknown or any(part[2] or part[3] for part in parsed):
            raise SourceError(
                f"The cut-out address names {{{', '.join(unknown) or '...:...'}}}; there are "
                f"{', '.join('{' + name + '}' for name in FIELDS)}, with nothing else in the "
                "braces."
            )
        if not {"ra", "dec"} <= set(named):
            raise SourceError("The cut-out address needs {ra} and {dec}, which are degrees.")
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.netloc or "{" in parts.netloc:
            raise SourceError(
                f"The cut-out address {text!r} must begin with http(s):// and a host, without "
                "braces in it."
            )
        self.text, self.host, self.parts = text, parts.netloc, parts
        self._values = {"size": str(size), "pixscale": f"{pixel_scale:g}", "bands": bands}

    @property
    def survey(self) -> str:
        """Name of what is asked: the layer, as the Legacy Surveys call it, else the host."""
        return parse_qs(self.parts.query).get("layer", [self.host])[0]

    def address(self, position: Position, name: str) -> str:
        """Return the address of one galaxy's cut-out."""
        values = {
            "ra": f"{position.ra:.6f}",
            "dec": f"{position.dec:.6f}",
            "id": quote(name, safe=""),
            **self._values,
        }
        return self.text.format(**values)


def check_host(template: Template, settings: Settings) -> None:
    """Refuse a template whose host is not among the allowed ones.

    Raises
    ------
    SourceError
        With the setting that would allow it.
    """
    rules = HostRules(settings.label_studio_url, settings.image_hosts)
    if rules.permission(template.parts) is None:
        raise SourceError(
            f"Cut-outs may not be fetched from {template.host}. If they should be, set "
            f"GALAXYLOOP_IMAGE_HOSTS={template.host} (several: comma separated)."
        )
