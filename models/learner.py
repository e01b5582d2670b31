"""The networks that learn, and the gradients of one step.

A batch may be computed in parts. The terms that look at embeddings see those of all parts at once:
they are computed without a graph, the loss is brought back to the embeddings, and from them part by
part to the weights (Gao et al. 2021, arXiv 2101.06983). So parts, and processes that share them,
change nothing but the order of additions. (The batch norms of an encoder of convolutions are the
exception: they see each part on its own, and processes share the means of their statistics.)
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from models.batches import Batch, Part
from models.devices import Processes
from models.lvm import LVM, resized
from models.masking import Masking, reconstruction_loss
from models.measurements import MEASUREMENTS
from models.objective import Objective
from models.schedule import Schedule
from models.simulation import KINDS
from models.stamps import PARAMETERS


class Learner:
    """An LVM with the small networks that only training needs.

    Parameters
    ----------
    model : LVM
        What learns; it is changed.
    schedule : Schedule
        Weights of the terms, seed and precision.
    processes : Processes
        Device, and who else computes parts of the same batch.
    """

    def __init__(self, model: LVM, schedule: Schedule, processes: Processes) -> None:
        self.schedule, self.processes, self.device = schedule, processes, processes.device
        pooled = model.config.pooled_dimension
        self.model = model.to(self.device)
        objective = Objective(pooled, len(KINDS), len(PARAMETERS), MEASUREMENTS)
        self.objective = objective.to(self.device)
        self.masking = Masking(model.config.width).to(self.device)

    def resize(self, size: int) -> None:
        """Go on with images of another side, with the weights as they are."""
        self.model = resized(self.model, size).to(self.device)

    def modules(self) -> dict[str, nn.Module]:
        """All networks by name."""
        return {"model": self.model, "objective": self.objective, "masking": self.masking}

    def parameters(self, decoding: bool) -> list[nn.Parameter]:
        """What the encoder's phase trains, or that of the decoder alone."""
        if decoding:
            return self._network(decoding)
        return [*self._network(decoding), *self.objective.parameters()]

    def _network(self, decoding: bool) -> list[nn.Parameter]:
        """Parameters of which every process has the gradient of its own parts only."""
        decoder = [] if self.model.decoder is None else list(self.model.decoder.parameters())
        if decoding:
            return decoder
        if not self.schedule.reconstruction_weight:
            decoder = []
        return [*self.model.encoder.parameters(), *decoder, *self.masking.parameters()]

    def encoder_gradients(self, batch: Batch) -> dict[str, float]:
        """Compute the gradients of all terms of a step, and return the losses.

        Raises
        ------
        FloatingPointError
            A loss is not finite.
        """
        schedule, share = self.schedule, len(batch.parts)
        first = self.processes.rank * share
        for module in (self.model, self.objective, self.masking):
            module.train()
        losses: dict[str, float] = {}
        held: list[Tensor] = []
        slopes: list[Tensor] = []
        if schedule.discriminates:
            # A single part keeps its graph; of several, each is computed again when its turn comes.
            held = [self._embed(part, keep=share == 1) for part in batch.parts]
            rows = self.processes.gather(torch.stack([pooled.detach() for pooled in held]))
            rows.requires_grad_()
            loss, losses = self._discriminate(rows, batch)
            _check(loss)
            loss.backward()
            assert rows.grad is not None
            slopes = list(rows.grad[first : first + share])
        reconstructed = torch.zeros(2, device=self.device)
        for index, part in enumerate(batch.parts):
            ends: list[Tensor] = []
            grads: list[Tensor | None] = []
            if schedule.discriminates:
                ends.append(held[0] if share == 1 else self._embed(part, keep=True))
                grads.append(slopes[index])
            if schedule.reconstruction_weight:
                error, hidden = self._reconstruction(part)
                reconstructed += torch.stack([error.detach(), hidden]) / schedule.parts
                ends.append(schedule.reconstruction_weight / schedule.parts * error)
                grads.append(None)
            torch.autograd.backward(ends, grads)
        if schedule.reconstruction_weight:
            losses |= self._told(reconstructed, ("l1", "l1_hidden"))
        self._share(decoding=False)
        return losses

    def decoder_gradients(self, batch: Batch) -> dict[str, float]:
        """Compute the gradients of the decoder alone, and return the loss.

        Raises
        ------
        FloatingPointError
            The loss is not finite.
        """
        self.model.eval()
        assert self.model.decoder is not None
        self.model.decoder.train()
        told = torch.zeros(1, device=self.device)
        for part in batch.parts:
            torch.manual_seed(part.seed)
            images, hidden = part.first_views.to(self.device), part.hidden.to(self.device)
            with self._precision():
                with torch.no_grad():
                    inputs, outputs = self.model.encoder(images)
                given = self.model.decoder(outputs[-1], inputs)
                error = reconstruction_loss(images, given, hidden)[0] / self.schedule.parts
            error.backward()
            told += error.detach()
        losses = self._told(told, ("l1",))
        self._share(decoding=True)
        return losses

    def reconstruct(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return what encoder and decoder make of images with hidden patches."""
        assert self.model.decoder is not None
        tokens = self.masking(self.model.encoder.tokens(images), hidden)
        inputs, outputs = self.model.encoder.describe(tokens)
        given: Tensor = self.model.decoder(outputs[-1], inputs)
        return given

    def _discriminate(self, rows: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Terms of the embeddings `[parts, rows, d]` of all parts of all processes."""
        schedule, device = self.schedule, self.device
        raw = torch.stack([part.measurements for part in batch.parts]).to(device)
        measurements = self.processes.gather(raw)
        n = measurements.shape[1]
        pair = torch.cat([rows[:, :n].flatten(0, 1), rows[:, n : 2 * n].flatten(0, 1)])
        terms: dict[str, tuple[float, Tensor]] = {}
        with device:
            if schedule.contrast_weight:
                term = self.objective.contrast(pair, schedule.temperature)
                terms["contrast"] = (schedule.contrast_weight, term)
            if schedule.measured_weight:
                term = self.objective.measured(pair, measurements.flatten(0, 1).repeat(2, 1))
                terms["measured"] = (schedule.measured_weight, term)
            if batch.kinds.numel():
                kinds = batch.kinds.flatten().to(device)
                parameters = batch.parameters.flatten(0, 1).to(device)
                term = self.objective.truth(rows[:, 2 * n :].flatten(0, 1), kinds, parameters)
                terms["truth"] = (schedule.truth_weight, term)
        loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
        return loss, {name: term.item() for name, (_, term) in terms.items()}

    def _embed(self, part: Part, keep: bool) -> Tensor:
        """Pooled numbers `[rows, d]` of all views of a part, with their graph or without."""
        torch.manual_seed(part.seed)  # of DropPath
        with torch.set_grad_enabled(keep), self._precision():
            outputs = self.model.encoder(part.views.to(self.device))[1]
        return self.model.pool(outputs)

    def _reconstruction(self, part: Part) -> tuple[Tensor, Tensor]:
        """Loss of the reconstruction of the first views, and the error of hidden patches."""
        images, hidden = part.first_views.to(self.device), part.hidden.to(self.device)
        torch.manual_seed(part.seed + 1)
        with self._precision():
            return reconstruction_loss(images, self.reconstruct(images, hidden), hidden)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.bfloat16)

    def _told(self, sums: Tensor, names: Iterable[str]) -> dict[str, float]:
        """Losses that every process knows a share of."""
        self.processes.add([sums])
        _check(sums[0])
        return dict(zip(names, sums.tolist(), strict=True))

    def _share(self, decoding: bool) -> None:
        """Add up the gradients of all processes, and average the statistics of batch norms.

        What only sees embeddings has the whole gradient already: it saw those of all processes.
        """
        grads = [p.grad for p in self._network(decoding) if p.grad is not None]
        self.processes.add(grads)
        if self.processes.count > 1 and not decoding:
            statistics = [
                values
                for name, values in self.model.encoder.named_buffers()
                if name.endswith(("running_mean", "running_var"))
            ]
            self.processes.add(statistics)
            for values in statistics:
                values /= self.processes.count


def _check(loss: Tensor) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"The loss is {loss.item()}; lower the rate, and start anew in another folder."
        )
