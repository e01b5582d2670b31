"""What people's answers say of a restored image: accepted or not, and where its artefacts are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.answers import Answer, Labels, Mask, Stars
from models.opinions import Opinions

ACCEPT, REJECT = "accept", "reject"
MOST_STARS = 5


def verdict_of(opinions: Opinions, labels: Sequence[str] = (ACCEPT, REJECT)) -> float | None:
    """Share of the people who accept, in [0, 1]; None where nobody said anything.

    Parameters
    ----------
    opinions : Opinions
        A person's label counts before stars, those before masks. Stars lie evenly between reject
        (1) and accept (`MOST_STARS`). Who marks an artefact and says nothing more rejects; who
        looked and marked nothing accepts.
    labels : (str, str)
        The names of accepting and rejecting.
    """
    shares = [share for person in opinions.by_person if (share := _one(person, labels)) is not None]
    return float(np.mean(shares)) if shares else None


def artefacts_of(opinions: Opinions, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Share of the people who marked each pixel as an artefact: float32 [h, w].

    Masks of another size than the image are left out.
    """
    marked = np.zeros(shape, dtype=np.float32)
    for _, mask in opinions.each(Mask):
        if mask.pixels.shape == tuple(shape):
            marked += mask.pixels
    return np.minimum(marked / max(len(opinions), 1), 1.0).astype(np.float32)


def _one(person: tuple[Answer, ...], labels: Sequence[str]) -> float | None:
    accept, reject = labels
    named = {name for answer in person if isinstance(answer, Labels) for name in answer.labels}
    if (accept in named) != (reject in named):
        return 1.0 if accept in named else 0.0
    stars = [answer.value for answer in person if isinstance(answer, Stars)]
    if stars:
        return float(np.clip((np.mean(stars) - 1) / (MOST_STARS - 1), 0, 1))
    if any(isinstance(answer, Mask) and answer.pixels.any() for answer in person):
        return 0.0
    # Other answers only (a label we do not know) say nothing of the restoration.
    return None if person and not any(isinstance(answer, Mask) for answer in person) else 1.0
