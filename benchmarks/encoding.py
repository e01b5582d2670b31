"""Encoding: images per second of the pipeline, beside the loop that one would write first.

    python benchmarks/encoding.py [--images FOLDER] [--lvm DIR] [--count 400]

Data: JPEG stamps of 423 pixels as the SDSS serves them; simulated with a seed where no folder is
named. The peer, in the same run: read_image, to_tensor and LVM.encode for one image after the other
in float32, with torch's own number of threads and with one. The pipeline is `encode_stream` as
`galaxyloop encode` uses it. The rounds alternate and the best of each counts. The limit is what the
same threads reach with matrix products of 1024 x 1024, measured in between; the encoder's
operations are counted by torch. Memory is the peak of `galaxyloop encode` for n and 4n images.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from models.images import read_image, to_tensor
from models.simulation import simulate
from models.sources import DEFAULT_FOLDER, load_lvm
from models.throughput import Plan, Prepared, best_device, encode_stream, plan_for
from models.vision_encoder import VisionEncoder

SIDE, SEED, ROUNDS = 423, 0, 3
WANTED = 4.0
DISTINCT = 100
"""Simulated galaxies; they are repeated for more files, which the pipeline does not notice."""


def simulated(folder: Path, count: int) -> list[Path]:
    """Write JPEG stamps of simulated galaxies."""
    rng = np.random.default_rng(SEED)
    files = []
    for number in range(min(count, DISTINCT)):
        file = folder / f"{number:05}.jpg"
        Image.fromarray(simulate(rng, size=SIDE).rgb).save(file, "JPEG", quality=90)
        files.append(file)
    for number in range(len(files), count):
        file = folder / f"{number:05}.jpg"
        os.link(files[number % DISTINCT], file)
        files.append(file)
    return files


def naive(lvm: VisionEncoder, files: list[Path], threads: int) -> float:
    """Images per second, one by one."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    device = next(lvm.parameters()).device
    begun = time.perf_counter()
    for file in files:
        tensor = to_tensor(read_image(file.read_bytes()), lvm.preprocessing)
        lvm.encode(tensor[None].to(device)).pooled.cpu().numpy()
    seconds = time.perf_counter() - begun
    torch.set_num_threads(before)
    return len(files) / seconds


def pipeline(lvm: VisionEncoder, files: list[Path], plan: Plan) -> float:
    """Images per second of `encode_stream`."""

    def prepare(file: Path) -> Prepared[None]:
        image = read_image(file.read_bytes())
        return Prepared(None, to_tensor(image, lvm.preprocessing))

    begun = time.perf_counter()
    done = sum(len(group) for group in encode_stream(lvm, files, prepare, plan))
    return done / (time.perf_counter() - begun)


def peak_flops(lvm: VisionEncoder, plan: Plan) -> float:
    """Operations per second of matrix products in the pipeline's precision, on all its lanes."""
    device = next(lvm.parameters()).device
    a = torch.rand(1024, 1024, device=device, dtype=plan.precision)

    def multiply(_: int) -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        for _ in range(10):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()

    before = torch.get_num_threads()
    with ThreadPoolExecutor(plan.lanes) as pool:
        list(pool.map(multiply, range(plan.lanes)))
        begun = time.perf_counter()
        list(pool.map(multiply, range(2 * plan.lanes)))
        seconds = time.perf_counter() - begun
    torch.set_num_threads(before)
    return 2 * plan.lanes * 10 * 2 * 1024**3 / seconds


def peak_memory(files: list[Path], lvm: Path) -> float:
    """MiB that `galaxyloop encode` takes at most for these files."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Path(folder) / "c.csv"
        rows = "".join(f"{number},{file}\n" for number, file in enumerate(files))
        catalogue.write_text("id,path\n" + rows)
        command = [sys.executable, __file__, "--memory", str(catalogue), "--lvm", str(lvm)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def encode_and_tell_peak(catalogue: Path, lvm: str) -> None:
    from ml_backend.cli import main as galaxyloop

    out = str(catalogue.with_suffix(".npz"))
    arguments = ["encode", str(catalogue), "--lvm", lvm, "--out", out]
    with open(os.devnull, "w") as nothing:
        kept, sys.stdout = sys.stdout, nothing
        galaxyloop(arguments, standalone_mode=False)
        sys.stdout = kept
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, help="folder of JPEG files; default: simulated")
    parser.add_argument("--lvm", default=str(DEFAULT_FOLDER), help="folder of the LVM")
    parser.add_argument("--count", type=int, default=400, help="images per round")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        encode_and_tell_peak(given.memory, given.lvm)
        return
    lvm = load_lvm(given.lvm).to(best_device())
    plan, size = plan_for(lvm), lvm.preprocessing.size
    with tempfile.TemporaryDirectory() as folder:
        if given.images:
            listed = sorted(file for file in given.images.rglob("*.jp*g"))
            files = list(itertools.islice(itertools.cycle(listed), given.count))
        else:
            files = simulated(Path(folder), given.count)
        few = files[: max(given.count // 8, 10)]
        sample = torch.rand(4, 3, size, size)
        with FlopCounterMode(display=False) as counter:
            lvm.encode(sample.to(best_device()))
        per_image = counter.get_total_flops() / 4
        precision = str(plan.precision).removeprefix("torch.")
        print(
            f"LVM {lvm.identity[:12]}: {size} px, {lvm.views} views, "
            f"{per_image / 1e9:.2f} GFLOP per image; {best_device().type}, {plan.lanes} lanes, "
            f"{plan.images} images per pass, {precision}; {len(files)} JPEGs"
        )
        threads = torch.get_num_threads()
        naive(lvm, few[:5], threads)
        pipeline(lvm, few, plan)
        rates: dict[str, list[float]] = {"naive": [], "one": [], "pipeline": [], "peak": []}
        for _ in range(ROUNDS):
            rates["naive"].append(naive(lvm, few, threads))
            rates["one"].append(naive(lvm, few, 1))
            rates["peak"].append(peak_flops(lvm, plan))
            rates["pipeline"].append(pipeline(lvm, files, plan))
        best = {name: max(values) for name, values in rates.items()}
        print(f"one by one, {threads} threads: {best['naive']:.1f} images/s")
        print(f"one by one, 1 thread: {best['one']:.1f} images/s")
        print(
            f"pipeline: {best['pipeline']:.1f} images/s, "
            f"{best['pipeline'] / best['naive']:.1f} times one by one (wanted: {WANTED:g}), "
            f"{best['pipeline'] / best['one']:.1f} times that on 1 thread"
        )
        print(
            f"matrix products: {best['peak'] / 1e9:.0f} GFLOP/s, of which the pipeline reaches "
            f"{best['pipeline'] * per_image / best['peak']:.0%}"
        )
        small, large = peak_memory(few, given.lvm), peak_memory(few * 4, given.lvm)
        print(
            f"memory: {small:.0f} MiB for {len(few)} images, {large:.0f} MiB for {4 * len(few)}: "
            f"{large / small:.2f} times"
        )


if __name__ == "__main__":
    main()
