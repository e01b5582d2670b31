"""Training of the detection head's networks: one for each fold, all on the same views."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.heads.centre_views import Example, random_view
from models.heads.centres import NUMBERS, STRIDE, Centres, Truth, loss_of
from models.throughput import has_fast_bfloat16
from models.vision_encoder import VisionEncoder

BATCH = 6
"""Views per step. A network learns from those of them that are not of its fold."""
SIDE = 320
"""Of a view, in pixels; smaller where all pictures are."""
_RATE = 3e-3
_DECAY = 0.02
_AVERAGE = 0.985


def default_steps(n: int) -> int:
    """Steps that n pictures are worth: more for more, but not in proportion."""
    return int(np.clip(50 * np.sqrt(n), 120, 1000))


def maps_of(lvm: VisionEncoder, inputs: Tensor, fast: bool = True) -> tuple[Tensor, ...]:
    """Feature maps float32 of pictures [n, 3, h, w]; bfloat16 within where that is faster."""
    device = inputs.device
    low = fast and has_fast_bfloat16(device) and not lvm.amplifies_rounding
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
        return tuple(level.float() for level in lvm.maps(inputs))


def train(
    examples: Sequence[Example],
    folds: NDArray[np.intp],
    lvm: VisionEncoder,
    shape: str,
    steps: int,
    seed: int,
) -> list[Centres]:
    """Train a network for each fold on the examples of the others (on all, if there is one fold).

    The feature maps of a view serve all of them. Nothing of a fold, nor an object of it added to
    another picture, is seen by its network.

    Parameters
    ----------
    examples : n of Example
    folds : int [n]
        From 0, without gaps.
    steps : int
        Of `BATCH` views each.
    seed : int
        The same one gives the same weights on the same machine.
    """
    rng = np.random.default_rng(seed)
    count = int(folds.max()) + 1
    side = max(max(example.inputs.shape[-2:]) for example in examples)
    side = min(SIDE, -(-side // 32) * 32)
    members = [np.flatnonzero(folds == fold) for fold in range(count)]
    nets = _started(examples, lvm, NUMBERS[shape], count, side, rng)
    averages = [copy.deepcopy(net) for net in nets]
    optimisers = [
        torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY) for net in nets
    ]
    low = has_fast_bfloat16(torch.device("cpu"))
    orders: list[list[int]] = [[] for _ in members]
    for step in range(steps):
        places = []
        for turn in range(BATCH):
            fold = turn % count
            if not orders[fold]:
                orders[fold] = rng.permutation(members[fold]).tolist()
            places.append((orders[fold].pop(), fold))
        drawn = [
            random_view(examples[i], [examples[j] for j in members[f]], shape, side, rng)
            for i, f in places
        ]
        inputs = torch.stack([view for view, _ in drawn])
        pyramid = [level.clone() for level in maps_of(lvm, inputs)]
        cells = -(-side // STRIDE)
        truth = Truth.of([objects for _, objects in drawn], shape, cells, cells)
        weights = torch.tensor([examples[i].weight for i, _ in places])
        of_fold = torch.tensor([fold for _, fold in places])
        rate = _RATE * min(1.0, (step + 1) / 20) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        for fold, (net, average, optimiser) in enumerate(
            zip(nets, averages, optimisers, strict=True)
        ):
            use = torch.nonzero((of_fold != fold) | torch.tensor(count == 1)).flatten()
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                said = net(inputs[use], [level[use] for level in pyramid])
            part = Truth(*(value[use] for value in vars(truth).values()))
            loss = loss_of(said.float(), part, weights[use])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            _follow(average, net, min(_AVERAGE, (1 + step) / (10 + step)))
    return [average.eval().requires_grad_(False) for average in averages]


def _started(
    examples: Sequence[Example],
    lvm: VisionEncoder,
    p: int,
    count: int,
    side: int,
    rng: np.random.Generator,
) -> list[Centres]:
    """Networks with random weights that know how maps and inputs are spread."""
    some = rng.permutation(len(examples))[:16]
    views = torch.stack([random_view(examples[i], (), "point", side, rng)[0] for i in some])
    pyramid = [level.clone() for level in maps_of(lvm, views)]
    nets = []
    state = torch.random.get_rng_state()
    for _ in range(count):
        torch.manual_seed(int(rng.integers(2**31)))
        net = Centres([level.shape[1] for level in pyramid], p)
        net.level_statistics(pyramid, views)
        # The order in which convolutions in bfloat16 are quickest.
        for weights in net.parameters():
            if weights.ndim == 4:
                weights.data = weights.data.contiguous(memory_format=torch.channels_last)
        nets.append(net.train())
    torch.random.set_rng_state(state)
    return nets


def _follow(average: Centres, net: Centres, keep: float) -> None:
    """Move the running average of the weights towards the present ones."""
    with torch.no_grad():
        for old, new in zip(average.parameters(), net.parameters(), strict=True):
            old.lerp_(new, 1 - keep)
        for kept, now in zip(average.buffers(), net.buffers(), strict=True):
            kept.copy_(now)
