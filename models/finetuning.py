"""Light fine-tuning: the LVM's last stage learns from the labels of one project.

With few labels a frozen LVM and a linear head do best; with hundreds, the last stage may learn
what the labels are about. It starts from the weights that it has, together with a head that was
fitted on the frozen embedding, is drawn back to both (L2-SP; Li et al. 2018, arXiv 1802.01483),
sees views that respect the sky, and stops when labels that are held out stop gaining. Whether the
result is used is not decided here: the caller compares it on labels that were given to nobody.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from models.augmentation import random_views
from models.finetuning_options import FinetuningOptions
from models.frame import Canvas, Frame, central_views
from models.heads.base import HeadError
from models.heads.classification import LinearHead, MultipleChoiceHead, SingleChoiceHead
from models.heads.inputs import check_positive
from models.heads.linear import folds_of
from models.last_stage import BATCH, LastStage, Maps, check_tunable, joined
from models.lvm import LVM
from models.sunet import LVMError
from models.vision_encoder import VisionEncoder, views_of

__all__ = ["FEWEST", "FinetuningOptions", "Tuned", "finetune", "frame_for_tuning"]

FEWEST = 40
"""Labels below which there is nothing to hold out and nothing to learn from."""


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning made.

    Attributes
    ----------
    lvm : LVM or None
        Of the same configuration and another identity; None where the held-out labels gained
        nothing.
    losses : tuple of float
        Held-out log loss (per weight of votes) before the first epoch and after each.
    reason : str
        What happened, in a sentence.
    seconds : float
    """

    lvm: LVM | None
    losses: tuple[float, ...]
    reason: str
    seconds: float


def finetune(
    lvm: VisionEncoder,
    canvases: Canvas,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    exclusive: bool = True,
    options: FinetuningOptions | None = None,
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda share, message: None,
) -> Tuned:
    """Tune a copy of an LVM's last stage on labelled stamps.

    Parameters
    ----------
    lvm : VisionEncoder
        An `LVM`; it stays as it is.
    canvases : uint8 [n, side, side, 3]
        The stamps as `Frame.of(lvm.preprocessing).draw` gives them.
    targets : [n, k]
        Consensus fractions in [0, 1]; those of a single choice sum to 1.
    weights : [n], optional
        Votes behind each; 1 where left out.
    exclusive : bool
        Whether the labels exclude each other.
    options : FinetuningOptions, optional
    seed : int
        Of the views, their order and the labels that are held out.
    progress : callable
        Called with (share done, what is being done) after every batch; may raise to stop.

    Returns
    -------
    Tuned

    Raises
    ------
    LVMError
        The LVM cannot be tuned, or the canvases are not what it is shown.
    HeadError
        Targets or weights cannot be used.
    FloatingPointError
        The loss became infinite.
    """
    began, how = time.monotonic(), options or FinetuningOptions()
    frame = frame_for_tuning(lvm)
    t, w = _checked(canvases, targets, weights, exclusive, frame)
    training = _Training(lvm, frame, canvases, t, w, exclusive, how, seed, progress)
    losses, best = training.run(began)
    seconds = time.monotonic() - began
    said = f"held-out log loss {losses[0]:.4f} before, {min(losses):.4f} at best"
    if best is None or min(losses) > (1 - how.gain) * losses[0]:
        return Tuned(None, tuple(losses), f"Fine-tuning gained nothing: {said}.", seconds)
    return Tuned(best, tuple(losses), f"Fine-tuned on {len(t)} labels: {said}.", seconds)


class _Training:
    """One fine-tuning at work."""

    def __init__(
        self, lvm: VisionEncoder, frame: Frame, canvases: Canvas, targets: NDArray[np.float32],
        weights: NDArray[np.float32], exclusive: bool, options: FinetuningOptions, seed: int,
        progress: Callable[[float, str], None],
    ) -> None:  # fmt: skip
        self.last, self.frame, self.options = LastStage(lvm, options.projection), frame, options
        self.progress, self.exclusive = progress, exclusive
        self.generator = torch.Generator().manual_seed(seed)
        # Twins (one image imported twice) are held out together, or they would tell.
        digests = [hashlib.blake2b(item.tobytes(), digest_size=8).digest() for item in canvases]
        twins = np.frombuffer(b"".join(digests), dtype=np.uint64)[:, None]
        held = folds_of(twins, targets, max(2, round(1 / options.held)), seed) == 0
        self.held, self.rows = np.flatnonzero(held), np.flatnonzero(~held)
        self.canvases = canvases
        self.targets, self.weights = torch.from_numpy(targets), torch.from_numpy(weights)
        self.device = self.last.device

    def run(self, began: float) -> tuple[list[float], LVM | None]:
        """Train; return the held-out losses and the best LVM, None where none was better."""
        how = self.options
        standing = self._as_encoded(self.rows)
        held = self._as_encoded(self.held)
        frozen = self.last.encode(standing)
        fitted = self._fitted(frozen)
        head = _JointHead(fitted, frozen).to(self.device)
        views = self._views()
        parameters: list[Tensor] = [*self.last.parameters(), *head.parameters()]
        start = [parameter.detach().clone() for parameter in parameters]
        optimiser = torch.optim.AdamW(
            [
                {"params": self.last.parameters(), "share": 1.0},
                {"params": list(head.parameters()), "share": how.head_share},
            ],
            lr=how.rate,
            weight_decay=0.0,
        )
        losses, best, since = [self._held_loss(fitted, held)], None, 0
        per_epoch = max(1, len(views) // 2 // how.batch)
        for epoch in range(how.epochs):
            for step, (maps, rows) in enumerate(self._batches(views, per_epoch)):
                done = epoch + step / per_epoch
                rate = how.rate * min(1, done + 1 / per_epoch)
                rate *= 0.5 * (1 + np.cos(np.pi * done / how.epochs))
                for group in optimiser.param_groups:
                    group["lr"] = rate * group["share"]
                loss = self._loss(head(self.last.embed(maps)), rows)
                if not torch.isfinite(loss):
                    raise FloatingPointError("The loss of fine-tuning is infinite; lower the rate.")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                with torch.no_grad():
                    torch._foreach_lerp_(parameters, start, rate * how.pull)
                self.progress(0.4 + 0.6 * done / how.epochs, f"Fine-tuning, epoch {epoch + 1}")
            losses.append(self._held_loss(self._fitted(self.last.encode(standing)), held))
            since += 1
            if losses[-1] < min(losses[:-1]):
                best, since = self._copy(), 0
            late = how.seconds is not None and time.monotonic() - began > how.seconds
            if since >= how.patience or late:
                break
        return losses, best

    def _fitted(self, embeddings: Tensor) -> LinearHead:
        """Fit the head that a round would fit to the embeddings of what is learned from."""
        labels = [str(label) for label in range(self.targets.shape[1])]
        head: LinearHead = (SingleChoiceHead if self.exclusive else MultipleChoiceHead)(labels)
        targets, weights = self.targets[self.rows], self.weights[self.rows]
        return head.fit(embeddings.numpy(), targets.numpy(), weights.numpy())

    def _as_encoded(self, rows: NDArray[np.int64]) -> list[Maps]:
        """Maps of stamps as `encode` sees them, one per view that it averages over."""
        config, found = self.last.lvm.config, []
        for start in range(0, len(rows), BATCH):
            chosen = self.canvases[rows[start : start + BATCH]]
            images = central_views(chosen, config.image_size, config.preprocessing.crop)
            found.append(self.last.maps_as_encoded(images))
            self.progress(0.1 * start / len(rows), "Encoding labelled galaxies")
        return [joined(list(parts)) for parts in zip(*found, strict=True)]

    def _views(self) -> Maps:
        """Maps of random views: one of each stamp that is learned from, then another of each..."""
        count = self.options.views
        found: list[Maps] = []
        while len(found) < count:
            parts = []
            for start in range(0, len(self.rows), BATCH):
                chosen = self.canvases[self.rows[start : start + BATCH]]
                parts.append(self.last.maps(self._view(chosen, len(found))))
                done = len(found) + start / len(self.rows)
                self.progress(0.1 + 0.3 * done / count, "Drawing views of labelled galaxies")
            found.append(joined(parts))
            size = found[0].before.nbytes + found[0].pooled.nbytes
            # They are copied once when they are put together.
            count = max(1, min(count, self.options.memory // (2 * size)))
        return joined(found)

    def _view(self, canvases: Canvas, number: int) -> Tensor:
        """Draw a random view, and every second time a plain one in another position.

        Embeddings are of plain views: shown none, the stage would drift to suit noise and blur.
        """
        config = self.last.lvm.config
        if number % 2:
            images = central_views(canvases, config.image_size, config.preprocessing.crop)
            return views_of(images, 8)[number // 2 % 8]
        stamps = torch.from_numpy(np.ascontiguousarray(canvases))
        return random_views(stamps, config.image_size, self.frame.view_crop, self.generator)

    def _batches(self, views: Maps, count: int) -> Iterator[tuple[Maps, Tensor]]:
        """Some of the views in random order, and the stamps that they show."""
        order = torch.randperm(len(views), generator=self.generator)
        rows = torch.from_numpy(self.rows)
        for index in range(count):
            chosen = order[index * self.options.batch : (index + 1) * self.options.batch]
            yield views.rows(chosen), rows[chosen % len(rows)]

    def _loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Log loss per weight of votes."""
        targets = self.targets[rows].to(self.device)
        weights = self.weights[rows].to(self.device)
        if self.exclusive:
            each = F.cross_entropy(logits, targets, reduction="none")
        else:
            each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
        return (weights * each).sum() / weights.sum()

    def _held_loss(self, head: LinearHead, held: list[Maps]) -> float:
        """Log loss of the held-out labels, by a head that was fitted as a round fits it."""
        logits = torch.from_numpy(head.logits(self.last.encode(held).numpy()))
        return self._loss(logits.to(self.device), torch.from_numpy(self.held)).item()

    def _copy(self) -> LVM:
        model = LVM(self.last.lvm.config)
        model.load_weights(self.last.lvm.state_dict(), "the tuned LVM")
        return model.to(self.device)


class _JointHead(nn.Module):
    """The fitted head on standardised embeddings, so that one rate suits all of them."""

    mean: Tensor
    spread: Tensor

    def __init__(self, head: LinearHead, embeddings: Tensor) -> None:
        super().__init__()
        arrays, _ = head.state()
        weight, bias = (torch.from_numpy(arrays[name]) for name in ("weight", "bias"))
        spread = embeddings.std(0)
        self.register_buffer("mean", embeddings.mean(0))
        self.register_buffer("spread", spread.clamp(min=1e-6 * float(spread.max()) + 1e-12))
        self.weight = nn.Parameter(weight * self.spread[:, None])
        self.bias = nn.Parameter(bias + self.mean @ weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        return (embeddings - self.mean) / self.spread @ self.weight + self.bias


def frame_for_tuning(lvm: VisionEncoder) -> Frame:
    """Return how images are drawn for tuning.

    Raises
    ------
    LVMError
        This LVM cannot be tuned; the reason is named.
    """
    check_tunable(lvm)
    if lvm.preprocessing.kind != "rgb8":
        raise LVMError(
            "Fine-tuning takes an LVM that sees pictures; this one sees measured flux and is used "
            "as it is."
        )
    try:
        return Frame.of(lvm.preprocessing)
    except ValueError as error:
        raise LVMError(str(error)) from None


def _checked(
    canvases: Canvas,
    targets: ArrayLike,
    weights: ArrayLike | None,
    exclusive: bool,
    frame: Frame,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    n, side = len(canvases), frame.side
    if canvases.dtype != np.uint8 or canvases.shape != (n, side, side, 3):
        raise LVMError(
            f"Fine-tuning takes uint8 canvases [n, {side}, {side}, 3], as Frame.draw makes them, "
            f"not {canvases.dtype} {list(canvases.shape)}."
        )
    if n < FEWEST:
        raise HeadError(f"Fine-tuning needs at least {FEWEST} labelled galaxies; there are {n}.")
    t = np.asarray(targets, np.float32)
    w = np.ones(n, np.float32) if weights is None else np.asarray(weights, np.float32)
    if t.ndim != 2 or len(t) != n or w.shape != (n,):
        raise HeadError(
            f"{n} stamps need targets [{n}, k] and weights [{n}], not {list(t.shape)} and "
            f"{list(w.shape)}."
        )
    if not (np.isfinite(t).all() and t.min() >= 0 and t.max() <= 1 + 1e-6):
        raise HeadError("Targets must be finite fractions between 0 and 1.")
    if exclusive and np.abs(t.sum(axis=1) - 1).max() > 1e-3:
        raise HeadError("Targets of a single choice must sum to 1 in each row.")
    check_positive(w)
    return t, w
