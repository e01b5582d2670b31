"""ResNet18 from scratch on the votes of a tree: what a user would train instead."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from efficiency import resnet
from numpy.typing import NDArray
from torch import Generator, Tensor
from transformers import ResNetForImageClassification

from models.heads.questions import QuestionTree
from models.throughput import has_fast_bfloat16

# As `benchmarks/efficiency/` found them for labels; answers of many people need no smoothing, and
# fractions are not classes that could be balanced.
SETTINGS = replace(resnet.SETTINGS, smoothing=0.0, balance=0.0)


def train(
    canvases: NDArray[np.uint8],
    counts: NDArray[np.float64],
    tree: QuestionTree,
    seed: int,
    settings: resnet.ResNetSettings = SETTINGS,
) -> ResNetForImageClassification:
    """Train a network from scratch, one softmax per question, multinomial log likelihood.

    Every vote counts alike, as in Walmsley et al. 2020 (arXiv 1905.07424). From
    `settings.held_from` labels on a part is kept, and the weights are those of the check that had
    the least loss on it.

    Parameters
    ----------
    canvases : uint8 [n, canvas_side, canvas_side, 3]
    counts : [n, K]
    """
    rng = np.random.default_rng([seed, len(counts)])
    generator = Generator().manual_seed(seed)
    first = counts[:, tree.columns[0]].argmax(axis=1)
    learned, kept = resnet.stopping_part(first, rng, settings)
    network = resnet.new_network(counts.shape[1], seed)
    start_at(network, counts[learned], tree)
    steps = settings.steps(len(counts))
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: resnet.rate_at(step, steps)
    )
    pictures, votes = torch.from_numpy(canvases), torch.from_numpy(counts).float()
    queue = np.zeros(0, dtype=np.int64)
    best: dict[str, Tensor] = {}
    best_loss = math.inf
    low = has_fast_bfloat16(torch.device("cpu"))
    for step in range(steps):
        network.train()
        while len(queue) < settings.batch:
            queue = np.append(queue, rng.permutation(learned))
        rows, queue = torch.from_numpy(queue[: settings.batch]), queue[settings.batch :]
        views = resnet.training_views(pictures[rows], settings, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = network(views.contiguous(memory_format=torch.channels_last)).logits
        loss = vote_loss(logits.float(), votes[rows], tree)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        # What comes before half of the steps has too high a rate to be the best.
        check = (step + 1) % max(steps // resnet.CHECKS, 1) == 0 or step + 1 == steps
        if len(kept) and check and step >= steps // 2:
            said = predict(network, canvases[kept], tree, replace(settings, views=1))
            found = float(-(counts[kept] * np.log(said.clip(1e-7))).sum() / counts[kept].sum())
            if found < best_loss:
                best_loss = found
                best = {name: value.clone() for name, value in network.state_dict().items()}
    if best:
        network.load_state_dict(best)
    return network.eval()


def start_at(
    network: ResNetForImageClassification, counts: NDArray[np.float64], tree: QuestionTree
) -> None:
    """Let the untrained network say the mean fractions, so that it need not learn them."""
    bias = np.concatenate(
        [np.log((counts[:, at].sum(axis=0) + 1) / (counts[:, at].sum() + 1)) for at in tree.columns]
    )
    final = network.classifier[-1]
    with torch.no_grad():
        final.bias.copy_(torch.from_numpy(bias))
        final.weight.mul_(0.1)


def vote_loss(logits: Tensor, votes: Tensor, tree: QuestionTree) -> Tensor:
    """Minus the multinomial log likelihood over the number of votes, in nats."""
    total = sum(-(votes[:, at] * logits[:, at].log_softmax(1)).sum() for at in tree.columns)
    return torch.as_tensor(total) / votes.sum()


@torch.inference_mode()
def predict(
    network: ResNetForImageClassification,
    canvases: NDArray[np.uint8],
    tree: QuestionTree,
    settings: resnet.ResNetSettings = SETTINGS,
) -> NDArray[np.float32]:
    """Return vote fractions [n, K], averaged over the quarter turns."""
    network.eval()
    found = []
    low = has_fast_bfloat16(torch.device("cpu"))
    for turned in resnet.turned_centres(canvases, settings):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = [network(view).logits.float() for view in turned]
        said = [torch.cat([z[:, at].softmax(1) for at in tree.columns], 1) for z in logits]
        found.append(torch.stack(said).mean(0))
    return np.asarray(torch.cat(found).numpy(), dtype=np.float32)
