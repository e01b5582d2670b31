"""Pictures: how many images per second the backend draws for people, beside what one would write.

    python benchmarks/pictures.py [--images FOLDER] [--count 100]

Data: FITS cubes g, r, z of 256 x 256 float32: those below --images, else lvm_decals_fits below
GALAXYLOOP_DATA, else simulated with a seed. Ours is a whole answer of `GET /pictures/...` by
Flask's client: signature, allowed folder, FITS, look, PNG, cache; each address is asked for once,
then again from the cache. The peer, in the same run: astropy.io.fits, astropy's make_lupton_rgb and
PIL's PNG with its defaults. One thread, seconds of processor time; rounds alternate and the best of
each counts. The limit is 10 pictures per second and core.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.visualization import make_lupton_rgb
from PIL import Image
from threadpoolctl import threadpool_limits

from ml_backend.app import create_app
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store
from models.looks import LOOKS
from models.simulation import simulate

SIDE, SEED, ROUNDS, WANTED = 256, 0, 5, 10.0


def simulated(folder: Path, count: int = 10) -> list[Path]:
    """Write cubes of simulated galaxies."""
    rng = np.random.default_rng(SEED)
    files = []
    for number in range(count):
        hdu = fits.PrimaryHDU(simulate(rng, size=SIDE).flux)
        hdu.header["BANDS"] = "grz"
        files.append(folder / f"{number}.fits")
        hdu.writeto(files[-1])
    return files


def real() -> list[Path]:
    """Legacy Survey cubes, where there are any."""
    folder = Path(os.environ.get("GALAXYLOOP_DATA", "")) / "lvm_decals_fits" / "fits"
    return sorted(folder.glob("*.fits")) if "GALAXYLOOP_DATA" in os.environ else []


def plain(path: Path) -> bytes:
    """What one would write with astropy and PIL."""
    with fits.open(path) as file:
        g, r, z = np.asarray(file[0].data, dtype=np.float32)
    rgb = make_lupton_rgb(z, r, g, stretch=0.1, Q=10)
    buffer = io.BytesIO()
    Image.fromarray(rgb[::-1]).save(buffer, "PNG")
    return buffer.getvalue()


def per_second(work: list[Callable[[], object]]) -> float:
    """Steps per second of processor time, which other programs on the machine do not change."""
    begun = time.process_time()
    for step in work:
        step()
    return len(work) / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, help="folder of FITS cubes g, r, z")
    parser.add_argument("--count", type=int, default=100, help="pictures per round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, threadpool_limits(1):
        folder = Path(work)
        files = sorted(given.images.rglob("*.fits")) if given.images else real()
        named = f"{len(files)} FITS files of {files[0].parent.parent.name}" if files else ""
        files = files or simulated(folder)
        named = named or f"{len(files)} simulated galaxies, seed {SEED}"
        settings = load_settings(
            _env_file=None,
            model_dir=folder / "data",
            image_folders=sorted({file.parent for file in files}),
            log_level="ERROR",
        )
        store = open_store(settings)
        client = create_app(settings, store, check=list).test_client()
        signer = store.picture_addresses()
        pages = 0

        def ask(look: str) -> list[Callable[[], object]]:
            """Requests for addresses that nobody has asked for yet."""
            nonlocal pages
            made: list[Callable[[], object]] = []
            for number in range(given.count):
                pages += 1
                source = f"/data/local-files/?d={files[number % len(files)].name}&page={pages}"
                path = signer.address(source, look).removeprefix(settings.browser_url)
                made.append(partial(answered, path))
            return made

        def answered(path: str) -> None:
            answer = client.get(path)
            assert answer.status_code == 200, answer.text

        chosen = [files[number % len(files)] for number in range(given.count)]
        peer: list[Callable[[], object]] = [partial(plain, file) for file in chosen]
        for step in (*ask("lupton")[:3], *peer[:3]):
            step()
        rates: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            rates.setdefault("peer", []).append(per_second(peer))
            for look in LOOKS:
                requests = ask(look)
                rates.setdefault(look, []).append(per_second(requests))
            rates.setdefault("kept", []).append(per_second(requests))
        store.close()
    best = {name: max(values) for name, values in rates.items()}
    print(f"{named}, {SIDE} x {SIDE} x 3, {given.count} pictures a round, one thread")
    print(f"make_lupton_rgb and PIL: {best['peer']:.0f} pictures/s")
    for look in LOOKS:
        print(
            f"{look}: {best[look]:.0f} pictures/s, {best[look] / WANTED:.1f} times the limit of "
            f"{WANTED:g}, {best[look] / best['peer']:.1f} times make_lupton_rgb and PIL"
        )
    print(f"from the cache: {best['kept']:.0f} pictures/s, {best['kept'] / WANTED:.0f} times")


if __name__ == "__main__":
    main()
