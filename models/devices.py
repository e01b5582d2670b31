"""Where to train: one processor or GPU, or several processes that `torchrun` started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from models.throughput import best_device

# How long one process may be busy (reading folders, simulating) while the others wait.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes
    ----------
    device : torch.device
        Of this process.
    rank, count : int
        Which one it is, and of how many.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: str = "auto") -> Processes:
        """Choose a device and, under `torchrun`, meet the other processes.

        Parameters
        ----------
        device : str
            "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1".

        Raises
        ------
        ValueError
            There is no such device.
        """
        count, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
        chosen = choose_device(device)
        if chosen.type == "cuda" and chosen.index is None:
            chosen = torch.device("cuda", local if count > 1 else 0)
        if count == 1:
            return cls(chosen)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
        return cls(chosen, dist.get_rank(), dist.get_world_size())

    def leave(self) -> None:
        """Part from the other processes."""
        if self.count > 1:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes in the order of their ranks; all have as many."""
        if self.count == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.count)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def add(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count > 1:
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                assert work is not None
                work.wait()


def choose_device(name: str) -> torch.device:
    """Return a device by name; "auto" is the GPU where there is one, else the processor.

    Raises
    ------
    ValueError
        There is no such device.
    """
    if name == "auto":
        return best_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"There is no device {name!r}; use auto, cpu or cuda.") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"Training runs on cpu or cuda, not on {name}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"There is no device {name} here ({torch.cuda.device_count()} GPUs).")
    return device
