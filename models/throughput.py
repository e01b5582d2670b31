"""Many images through the LVM at once: reading and encoding side by side, in flat memory.

Threads read and prepare images (decoders release Python's lock) while lanes run the network. On
processors a lane is one thread that shares nothing with the others: several small passes at once
are quicker than one pass split over threads that wait for one another after each operation, and
they stay quick where other programs want the processors too. A GPU is one lane.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.images import GalaxyImage, to_tensor
from models.vision_encoder import VisionEncoder

J = TypeVar("J")
R = TypeVar("R")

READERS = 4
MOST_LANES = 64
# Pixels, of all views, in one pass, and images at most. On processors the time per image is the
# same from 8 to 64 stamps of 64 pixels in 4 views, so few suffice; a GPU wants many.
PASS_PIXELS = {"cpu": 1 << 18, "cuda": 1 << 23}
MOST_PER_PASS = {"cpu": 32, "cuda": 512}


@dataclass(frozen=True)
class Plan:
    """How images go through the network. The same plan and images give the same numbers.

    Attributes
    ----------
    images : int
        Images per pass.
    precision : torch.dtype
        float32, or bfloat16 for the matrix products.
    lanes : int
        Passes at once; does not change the numbers.
    """

    images: int
    precision: torch.dtype
    lanes: int


@dataclass(frozen=True)
class Prepared(Generic[R]):
    """An image that was read: what the caller wants back, and the network's input.

    Attributes
    ----------
    result : object
        Handed back beside the embedding.
    tensor : Tensor or None
        float32 `[3, s, s]`; None where there is nothing to encode.
    key : str or None
        Images of equal key that are close together are encoded once.
    """

    result: R
    tensor: Tensor | None = None
    key: str | None = None


def best_device() -> torch.device:
    """Return the GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def plan_for(lvm: VisionEncoder) -> Plan:
    """Choose passes and precision for an LVM where it lies now.

    The choice follows from the machine and the configuration alone, not from a measurement, so
    that the same command gives the same numbers again. bfloat16 is taken where the hardware
    multiplies it (AVX512-BF16, AMX, Ampere), but never for the steep attention of the released
    network, which amplifies rounding.
    """
    device = next(lvm.parameters()).device
    fast = has_fast_bfloat16(device) and not lvm.amplifies_rounding
    kind = "cpu" if device.type == "cpu" else "cuda"
    lanes = min(torch.get_num_threads(), _processors(), MOST_LANES) if kind == "cpu" else 1
    images = PASS_PIXELS[kind] // (lvm.preprocessing.size**2 * lvm.views)
    return Plan(
        images=min(max(images, 4), MOST_PER_PASS[kind]),
        precision=torch.bfloat16 if fast else torch.float32,
        lanes=max(lanes, 1),
    )


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def embed(lvm: VisionEncoder, images: Tensor, plan: Plan) -> NDArray[np.float32]:
    """Encode inputs float32 `[n, 3, s, s]` to embeddings float32 `[n, d]`, pass by pass."""
    device = next(lvm.parameters()).device
    low = plan.precision is not torch.float32
    with torch.autocast(device.type, plan.precision, enabled=low):
        rows = [lvm.encode(part.to(device)).pooled.float() for part in images.split(plan.images)]
    return torch.cat(rows).cpu().numpy()


def encode_stream(
    lvm: VisionEncoder,
    jobs: Iterable[J],
    prepare: Callable[[J], Prepared[R]],
    plan: Plan | None = None,
    group: int | None = None,
    readers: int | None = None,
) -> Generator[list[tuple[R, NDArray[np.float32] | None]]]:
    """Read and encode any number of images, in order, group by group.

    Besides the group handed out, at most ``plan.lanes + 1`` groups are taken from `jobs` before
    they are wanted: that, and `readers` images being decoded, is all that is ever in memory.

    Parameters
    ----------
    lvm : VisionEncoder
    jobs : iterable
        One per image.
    prepare : callable
        Reads the image of a job; called from several threads. What it raises ends the stream.
    plan : Plan, optional
        By default `plan_for` the LVM.
    group : int, optional
        Jobs per group; by default as many as one pass takes.
    readers : int, optional
        Images read at once; by default one per processor, and a few at least.

    Yields
    ------
    list of (result, embedding)
        What `prepare` returned, and float32 `[d]`; None where there was nothing to encode.
    """
    plan = plan or plan_for(lvm)
    source = iter(jobs)
    outstanding: deque[Future[list[tuple[R, NDArray[np.float32] | None]]]] = deque()
    readers = readers or min(max(READERS, _processors()), MOST_LANES)
    reading = ThreadPoolExecutor(readers, thread_name_prefix="read")
    encoding = _lanes(plan.lanes)
    try:
        while taken := list(islice(source, group or plan.images)):
            prepared = [reading.submit(prepare, job) for job in taken]
            outstanding.append(encoding.submit(_encode_group, lvm, prepared, plan))
            if len(outstanding) > plan.lanes + 1:
                yield outstanding.popleft().result()
        while outstanding:
            yield outstanding.popleft().result()
    finally:
        reading.shutdown(wait=False, cancel_futures=True)
        encoding.shutdown(wait=True, cancel_futures=True)
        reading.shutdown(wait=True)


def encode_images(
    lvm: VisionEncoder,
    images: Iterable[GalaxyImage],
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Encode images in memory, or as an iterator makes them, one embedding after another.

    Parameters
    ----------
    lvm : VisionEncoder
        Its preprocessing says how images are prepared.
    images : iterable of GalaxyImage
        Any number; a few groups are held at a time.
    batch_size : int, optional
        Images per pass through the network, and per group; by default as `plan_for` chooses.
    progress : callable, optional
        Called with the number of images done after each group.

    Yields
    ------
    ndarray
        float32 `[d]`, in the order of the images.
    """
    plan = plan_for(lvm)
    if batch_size is not None:
        plan = Plan(batch_size, plan.precision, plan.lanes)

    def prepare(image: GalaxyImage) -> Prepared[None]:
        return Prepared(None, to_tensor(image, lvm.preprocessing))

    for group in encode_stream(lvm, images, prepare, plan):
        for _, row in group:
            assert row is not None
            yield row
        if progress is not None:
            progress(len(group))


def _encode_group(
    lvm: VisionEncoder, prepared: Sequence[Future[Prepared[R]]], plan: Plan
) -> list[tuple[R, NDArray[np.float32] | None]]:
    group = [future.result() for future in prepared]
    inputs: dict[object, Tensor] = {}
    for place, item in enumerate(group):
        if item.tensor is not None:
            inputs.setdefault(item.key or place, item.tensor)
    rows: dict[object, NDArray[np.float32]] = {}
    if inputs:
        rows = dict(zip(inputs, embed(lvm, torch.stack(list(inputs.values())), plan), strict=True))
    return [
        (item.result, rows[item.key or place] if item.tensor is not None else None)
        for place, item in enumerate(group)
    ]


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _lanes(count: int) -> ThreadPoolExecutor:
    """Make threads that each run torch on themselves alone."""
    together = threading.Barrier(count + 1)

    def settle() -> None:
        torch.get_num_threads()  # else the first operation would set it again
        torch.set_num_threads(1)
        together.wait()

    lanes = ThreadPoolExecutor(count, thread_name_prefix="lane")
    threads = torch.get_num_threads()
    for _ in range(count):
        lanes.submit(settle)
    together.wait()
    # A thread's number holds for itself, but also for threads to come: give those theirs back.
    torch.set_num_threads(threads)
    return lanes
