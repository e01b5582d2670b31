"""Masks: time to encode and decode Label Studio's run lengths, beside its own SDK.

Data: masks of simulated galaxies of 512 x 512 pixels, and random pixels (the worst case), seed 0.
Example: ``python benchmarks/masks.py --size 512``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from label_studio_sdk.converter import brush

from ml_backend.labelstudio.rle import mask_to_rle, rle_to_mask
from models.simulation import KINDS, simulate

LIMIT_MS = 10.0


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="side of the masks, in pixels")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    size = options.size
    rng = np.random.default_rng(0)
    masks = {kind: np.asarray(simulate(rng, kind, size).mask, bool) for kind in KINDS}
    masks["random pixels"] = rng.random((size, size)) < 0.5
    slow = False
    print(f"{size} x {size} px       encode ms   SDK   ratio   decode ms   SDK   ratio")
    for name, mask in masks.items():
        grey = np.where(mask, 255, 0).astype(np.uint8)
        coded = mask_to_rle(mask)
        if coded != brush.mask2rle(grey) or not np.array_equal(
            rle_to_mask(coded, *mask.shape), mask
        ):
            print(f"{name}: not the same as the SDK's")
            return 1
        encode = milliseconds(lambda mask=mask: mask_to_rle(mask), options.repeats)
        decode = milliseconds(lambda c=coded, m=mask: rle_to_mask(c, *m.shape), options.repeats)
        their_encode = milliseconds(lambda grey=grey: brush.mask2rle(grey), 3)
        their_decode = milliseconds(lambda coded=coded: brush.decode_rle(coded), 3)
        print(
            f"{name:<16} {encode:10.2f} {their_encode:7.1f} {their_encode / encode:6.0f}x"
            f" {decode:10.2f} {their_decode:7.1f} {their_decode / decode:6.0f}x"
        )
        slow |= name in KINDS and max(encode, decode) > LIMIT_MS
    if slow:
        print(f"a galaxy's mask took longer than {LIMIT_MS:g} ms")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
