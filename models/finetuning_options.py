"""How an LVM's last stage is tuned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FinetuningOptions:
    """How the last stage is tuned; the defaults are those of `benchmarks/label_efficiency.py`.

    Parameters
    ----------
    epochs : int
        Most passes over the views.
    patience : int
        Epochs without a gain after which it stops.
    views : int
        Views per stamp whose maps are kept, random and plain ones in turn; an epoch shows half.
    batch : int
        Views per step.
    rate : float
        Of AdamW, after a warm-up of one epoch; falls as a cosine.
    head_share : float
        Rate of the head as a share of `rate`, in [0, 1]: with its many small coefficients Adam's
        steps of equal length would spoil it long before the features have moved.
    pull : float
        Share of the way back to the starting weights per step, in units of the rate (L2-SP).
    held : float
        Share of the labels that decide when to stop, in (0, 0.5].
    gain : float
        Least relative fall of the held-out log loss for the result to be returned.
    projection : bool
        Tune the projection too.
    memory : int
        Bytes that the kept maps may take; with more stamps, fewer views of each are kept.
    seconds : float or None
        Time after which the current epoch is the last.
    """

    epochs: int = 12
    patience: int = 3
    views: int = 8
    batch: int = 32
    rate: float = 3e-5
    head_share: float = 0.1
    pull: float = 5.0
    held: float = 0.2
    gain: float = 0.01
    projection: bool = True
    memory: int = 512 << 20
    seconds: float | None = None

    def __post_init__(self) -> None:
        checks = {
            "epochs, patience, views and batch must be at least 1": min(
                self.epochs, self.patience, self.views, self.batch
            )
            >= 1,
            "rate must be in (0, 0.1]": 0 < self.rate <= 0.1,
            "head_share must be in [0, 1]": 0 <= self.head_share <= 1,
            "pull times rate must be in [0, 1)": 0 <= self.pull * self.rate < 1,
            "held must be in (0, 0.5]": 0 < self.held <= 0.5,
            "gain must be in [0, 1)": 0 <= self.gain < 1,
            "memory must be positive": self.memory > 0,
        }
        for rule, holds in checks.items():
            if not holds:
                raise ValueError(f"These options of fine-tuning cannot be used: {rule}.")
