"""``GET /pictures/<token>.png`` (``.fits``): images that browsers cannot show, or restored."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Blueprint, Response, request

from ml_backend.errors import FetchError
from ml_backend.pictures.addresses import RESTORED, PictureAddresses
from ml_backend.pictures.drawing import PictureError, PictureMaker, expired
from ml_backend.protocol.admission import Admission
from ml_backend.protocol.problems import Problem

ENDPOINT = "pictures.picture"
_MIME = {"png": "image/png", "fits": "application/fits"}
_ADVICE = "`galaxyloop doctor` tries the images of a project; correct the file or the task."
_SECONDS_KEPT = 86_400


def create_pictures(
    addresses: PictureAddresses,
    maker: PictureMaker,
    most: int,
    now: Callable[[], float] = time.time,
) -> Blueprint:
    """Return the blueprint of pictures.

    It asks for no user and password: browsers send none with an ``<img>`` of another host. The
    signature in the address is the permission. Any page may read the pixels (CORS), since no
    cookie or password of the reader plays a part in the answer; Label Studio's canvas needs this.

    Parameters
    ----------
    addresses : PictureAddresses
        Knows what was signed.
    maker : PictureMaker
    most : int
        Pictures fetched and drawn at once; kept ones do not count.
    now : callable
        Seconds since 1970.
    """
    blueprint = Blueprint("pictures", __name__)
    admission = Admission(most, "pictures")

    # One endpoint, so that both are as open as each other.
    @blueprint.get("/pictures/<token>.<any(png, fits):kind>", endpoint="picture")
    def picture(token: str, kind: str) -> Response:
        wanted = addresses.read(token)
        if wanted is None or (kind == "fits" and wanted.look not in RESTORED):
            raise Problem(
                404,
                "There is no such picture.",
                "Its address was not signed by this backend, or the secret was changed since.",
                "Import the task again.",
            )
        if expired(wanted, now):
            raise Problem(
                410,
                "This picture is shown no more.",
                "The time that its address allows has passed.",
                "Import the task again, or let addresses live longer (GALAXYLOOP_PICTURE_DAYS).",
            )
        try:
            drawn = maker.kept(wanted, kind)
            if drawn is None:
                with admission.place():
                    drawn = maker.picture(wanted, kind)
        except PictureError as error:
            raise Problem(422, "The picture cannot be drawn.", str(error), _ADVICE) from None
        except FetchError as error:
            raise Problem(502, "The image cannot be read.", str(error), _ADVICE) from None
        response = Response(drawn.data, mimetype=_MIME[kind])
        if kind == "fits":
            response.headers["Content-Disposition"] = 'attachment; filename="restored.fits"'
        response.headers["Cache-Control"] = f"private, max-age={_SECONDS_KEPT}"
        response.set_etag(f"{drawn.key}-{kind}")
        response.make_conditional(request)
        return response

    @blueprint.after_request
    def shared(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response

    return blueprint
