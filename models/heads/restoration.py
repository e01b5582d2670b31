"""The head that restores images, learns from verdicts, and tells which would be rejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from models.answers import Answer, Labels
from models.galaxy_image import GalaxyImage
from models.heads.base import Floats, Head, HeadError
from models.heads.classification import SingleChoiceHead
from models.heads.inputs import check_positive
from models.metrics import log_losses
from models.opinions import Opinions
from models.restoration_inputs import RestorationError
from models.restoration_network import RestorationNetwork, RestorationShape
from models.restoration_risk import signs_of
from models.restoration_tuning import Reviewed, tuned
from models.restoration_verdicts import ACCEPT, REJECT, artefacts_of, verdict_of
from models.restorer import Restored, Restorer, shipped
from models.scenes import Scene

_MOST_TUNED = 256


class RestorationHead(Head):
    """Restored images of scenes, with the probability that people would reject each.

    The restoration itself works before anyone labels (`models.restorer.shipped`). Verdicts teach
    two things: what is rejected (a calibrated linear model of signs of trouble in the restoration
    and of what the LVM sees), and, from `LEAST_TUNED` accepted images on, the network itself,
    lightly, and only if it is then better on accepted images that the tuning did not see. The
    signs are always taken from the shipped network's restoration, so that the risk of an image is
    that of something its own verdict never changed.

    Parameters
    ----------
    labels : (str, str)
        The names of accepting and rejecting, in this order.
    tune_steps : int
        Steps of tuning at most; 0 leaves the network as shipped.
    """

    kind = "restoration"
    sees = "scene"

    def __init__(self, labels: Sequence[str] = (ACCEPT, REJECT), tune_steps: int = 40) -> None:
        super().__init__(labels)
        if len(self.labels) != 2:
            raise HeadError(
                f"Restoration has two labels, to accept and to reject, not {self.labels}."
            )
        self._steps = int(tune_steps)
        self._risk: SingleChoiceHead | None = None
        self._tuned: Restorer | None = None
        self._channels = 0

    def fit(
        self,
        seen: Sequence[Scene],
        targets: Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: Sequence[Scene] | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit to verdicts (see `Head.fit`).

        Parameters
        ----------
        targets : n Opinions
            Of each person: `Labels` of one of our two labels; or `Stars`, of which one rejects and
            five accept; or a `Mask` of artefacts, which rejects unless the person said otherwise;
            or nothing, which accepts. Opinions of no person are left out.
        pool : unused
            Signs of trouble are too dear for a whole pool.
        """
        scenes, opinions = list(seen), list(targets)
        w = np.ones(len(scenes)) if weights is None else np.asarray(weights, dtype=np.float64)
        if len(opinions) != len(scenes) or w.shape != (len(scenes),):
            raise HeadError(
                f"{len(scenes)} scenes need as many opinions and weights, not {len(opinions)} and "
                f"{list(w.shape)}."
            )
        check_positive(w)
        accepted = [verdict_of(opinion, self.labels) for opinion in opinions]
        known = [row for row, share in enumerate(accepted) if share is not None]
        if not known:
            raise HeadError("There is no verdict to fit to; let people accept or reject some.")
        rows: list[Floats] = []
        reviewed: list[Reviewed] = []
        for scene, opinion, share in zip(_scenes(scenes), opinions, accepted, strict=True):
            values, restored = _restored(scene)
            rows.append(signs_of(scene, values, restored))
            if share is not None and self._steps > 0 and len(reviewed) < _MOST_TUNED:
                marked = artefacts_of(opinion, values.shape[1:])
                reviewed.append(Reviewed.of(values, restored, share, marked))
        widths = {len(row) for row in rows}
        if len(widths) != 1:
            raise HeadError("The scenes come from different LVMs; make them all with one.")
        x = np.array(rows)
        shares = np.array([accepted[row] for row in known], dtype=np.float64)
        table = np.stack([shares, 1 - shares], axis=1)
        risk = SingleChoiceHead(self.labels).fit(x[known], table, w[known], seed=seed)
        self._risk, self._channels = risk, _channels(scenes[0])
        self.out_of_fold = risk.predict(x)
        self.out_of_fold[known] = risk.out_of_fold
        self._tuned = tuned(shipped(), reviewed, self._steps, seed)
        self.committee = tuple(self._member(member) for member in risk.committee)
        return self

    def predict(self, seen: Sequence[Scene]) -> Floats:
        """Return the probabilities that people accept and reject, float32 ``[n, 2]``."""
        risk = self._fitted()
        rows = [signs_of(scene, *_restored(scene)) for scene in _scenes(seen)]
        if not rows:
            return np.zeros((0, 2), dtype=np.float32)
        if any(len(row) != risk.dimension for row in rows):
            raise HeadError(
                f"This head was fitted to feature maps of {self._channels} channels. Was another "
                "LVM loaded? Then train anew."
            )
        return risk.predict(np.array(rows))

    def uncertainty(self, seen: Sequence[Scene]) -> Floats:
        """Return the risk of rejection, ``[n]`` in [0, 1]."""
        return np.ascontiguousarray(self.predict(seen)[:, 1])

    def answers(self, seen: Sequence[Scene]) -> list[tuple[Answer, ...]]:
        """Return the likelier verdict for each image, with its probability."""
        said = self.predict(seen)
        return [
            (Labels((self.labels[int(row.argmax())],), score=min(float(row.max()), 1.0)),)
            for row in said
        ]

    def losses(self, said: Floats, targets: Sequence[Opinions]) -> Floats:
        """Return the log losses of the verdicts in nats; 0 where nobody gave one."""
        probabilities = np.asarray(said, np.float64)
        if len(probabilities) != len(targets):
            raise HeadError(f"{len(probabilities)} predictions, but {len(targets)} opinions.")
        shares = [verdict_of(opinion, self.labels) for opinion in targets]
        share = np.array([0.5 if value is None else value for value in shares], dtype=np.float64)
        table = np.stack([share, 1 - share], axis=1).reshape(-1, 2)
        losses = log_losses(probabilities.reshape(-1, 2), table, True).reshape(len(share), -1)
        total = losses.sum(axis=1) if losses.shape[1] else np.zeros(len(share))
        return np.where([value is None for value in shares], 0.0, total).astype(np.float32)

    def restored(
        self,
        image: Scene | GalaxyImage,
        psf_fwhm: float | None = None,
        mask: ArrayLike | None = None,
    ) -> Restored:
        """Restore an image with what was learned, also before anything was.

        Named so because `restore` reads a head from its state.

        Parameters
        ----------
        image : Scene or GalaxyImage
            Measured values are restored where there are any, else the picture's.
        psf_fwhm, mask
            See `Restorer.restore`.

        Raises
        ------
        HeadError
            The image is too small or not finite, or an option is out of range.
        """
        planes = _values(image) if isinstance(image, Scene) else image.pixels
        try:
            return (self._tuned or shipped()).restore(planes, psf_fwhm, mask)
        except RestorationError as error:
            raise HeadError(str(error)) from None

    @property
    def tuned(self) -> bool:
        """Whether the network was changed by what people accepted."""
        return self._tuned is not None

    @property
    def dimension(self) -> int:
        """Channels of the coarsest feature map."""
        self._fitted()
        return self._channels

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the risk's tensors and, if tuned, the network's."""
        tensors, _ = self._fitted().state()
        tensors = {f"risk.{name}": value for name, value in tensors.items()}
        values: dict[str, Any] = {"channels": self._channels, "tune_steps": self._steps}
        if self._tuned is not None:
            network = self._tuned.network
            for name, value in network.state_dict().items():
                tensors[f"network.{name}"] = value.detach().numpy().astype(np.float16)
            values["factor"] = self._tuned.factor
            values["shape"] = {"width": network.shape.width, "depth": network.shape.depth}
        return tensors, values

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        advice = "Roll back to another version."
        try:
            head = cls(labels, int(values["tune_steps"]))
            head._channels = int(values["channels"])
            risk = {
                name.removeprefix("risk."): value
                for name, value in tensors.items()
                if name.startswith("risk.")
            }
            head._risk = SingleChoiceHead.restore(labels, risk, {})
            if any(name.startswith("network.") for name in tensors) or "shape" in values:
                head._tuned = _network_of(tensors, values)
        except HeadError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise HeadError(
                f"The files of a restoration head do not fit: {error}. {advice}"
            ) from None
        if not 0 < head._channels < head._risk.dimension:
            raise HeadError(
                f"{head._channels} channels do not fit {head._risk.dimension} signs. {advice}"
            )
        return head

    def _member(self, risk: Head) -> RestorationHead:
        member = RestorationHead(self.labels, self._steps)
        assert isinstance(risk, SingleChoiceHead)
        member._risk, member._channels, member._tuned = risk, self._channels, self._tuned
        return member

    def _fitted(self) -> SingleChoiceHead:
        if self._risk is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._risk


def _scenes(seen: Sequence[Scene]) -> Sequence[Scene]:
    for place, scene in enumerate(seen):
        if not isinstance(scene, Scene):
            raise HeadError(f"Row {place} is a {type(scene).__name__}; this head sees scenes.")
    return seen


def _values(scene: Scene) -> NDArray[np.float32]:
    if scene.flux is not None:
        return scene.flux
    return np.ascontiguousarray(scene.pixels.transpose(2, 0, 1), dtype=np.float32)


def _restored(scene: Scene) -> tuple[NDArray[np.float32], Restored]:
    values = _values(scene)
    try:
        # Not sharpened, as the pictures that people judge are not.
        return values, shipped().restore(values, 0.0)
    except RestorationError as error:
        raise HeadError(str(error)) from None


def _channels(scene: Scene) -> int:
    return int(scene.pyramid[-1].shape[0])


def _network_of(tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> Restorer:
    network = RestorationNetwork(RestorationShape(**values["shape"]))
    state = {}
    for name, value in tensors.items():
        if name.startswith("network."):
            if not np.isfinite(value).all():
                raise ValueError(f"{name} holds values that are not finite")
            state[name.removeprefix("network.")] = torch.from_numpy(value.astype(np.float32))
    network.load_state_dict(state)
    return Restorer(network, float(values["factor"]), shipped().blur)
