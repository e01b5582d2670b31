"""Restoring images: denoised, sharpened, masked pixels filled, flux kept, with an error map."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.blur import BlurEstimator
from models.degradation import USUAL_BETA, centred
from models.profiles import moffat_psf
from models.restoration_filters import Deconvolved, deconvolved, filled, flux_kept, noise_of
from models.restoration_inputs import (
    SMALLEST,
    WIDEST,
    RestorationError,
    kernel_of,
    mask_of,
    noise_given,
    planes_of,
    sky_of,
    width_of,
)
from models.restoration_network import PLANES, RestorationNetwork, RestorationShape

SHIPPED = Path(__file__).parent / "weights" / "restoration"
FORMAT = 1
TILE, MARGIN = 768, 32


@dataclass(frozen=True)
class Ready:
    """Planes as the network takes them.

    Attributes
    ----------
    planes : float32 tensor [n, 3, h, w]
        In sigma of the noise, masked pixels filled.
    filters : Deconvolved
    noise : float32 tensor [n, 3, 1, 1]
        In the unit of the image; 1 for a band that is masked everywhere.
    """

    planes: Tensor
    filters: Deconvolved
    noise: Tensor


@dataclass(frozen=True)
class Restored:
    """A restored image.

    Attributes
    ----------
    image : float32 [bands, h, w]
        In the unit and with the sky of what was given.
    deviation : float32 [bands, h, w]
        Standard deviation of the error of each pixel, same unit, calibrated on simulated
        degradations; above 0.
    noise : float32 [bands]
        Noise per pixel that was found in the image, same unit.
    fwhm : float
        Width in pixels of the PSF that was undone; 0 for none.
    """

    image: NDArray[np.float32]
    deviation: NDArray[np.float32]
    noise: NDArray[np.float32]
    fwhm: float


def prepared(
    observed: Tensor, bad: Tensor, psf: Tensor | None, noise: Tensor | None = None
) -> Ready:
    """Bring planes without sky to units of their noise and filter them.

    Parameters
    ----------
    observed : float32 tensor [n, 3, h, w]
    bad : bool tensor [n, 3, h, w]
    psf : float32 tensor [n, p, p] or None
    noise : float32 tensor [n, 3, 1, 1], optional
        By default `noise_of` the pixels that are not bad.
    """
    complete = filled(observed, bad)
    if noise is None:
        noise = noise_of(observed, ~bad if bad.any() else None)
        noise = torch.where(bad.all(dim=(2, 3), keepdim=True), 1.0, noise)
    planes = complete / noise
    return Ready(planes, deconvolved(planes, psf), noise)


class Restorer:
    """The network with what is needed to use it on any image.

    Parameters
    ----------
    network : RestorationNetwork
    factor : float
        Calibration of the deviations, above 0.
    blur : BlurEstimator, optional
        Tells the width of the PSF where nobody does.
    """

    def __init__(
        self, network: RestorationNetwork, factor: float = 1.0, blur: BlurEstimator | None = None
    ) -> None:
        if not (np.isfinite(factor) and factor > 0):
            raise RestorationError(f"The factor on deviations must be above 0, not {factor}.")
        self.network = network.eval()
        self.factor = float(factor)
        self.blur = blur

    def restore(
        self,
        image: ArrayLike,
        psf_fwhm: float | None = None,
        mask: ArrayLike | None = None,
        psf: ArrayLike | None = None,
        noise: ArrayLike | None = None,
    ) -> Restored:
        """Restore one image.

        Parameters
        ----------
        image : [bands, h, w] or [h, w]
            Linear or picture values, finite, at least 8 pixels on a side.
        psf_fwhm : float, optional
            Width in pixels of the PSF to undo, 0 to 12; 0: nothing is sharpened. By default it
            is estimated, as far as the weights can.
        mask : bool [h, w] or [bands, h, w], optional
            Pixels to be filled: broken ones, or those of a neighbour.
        psf : [p, q], optional
            The PSF itself, of odd sides, finite, of positive sum; instead of `psf_fwhm`.
        noise : [bands], optional
            Noise per pixel in the unit of the image; by default it is estimated.

        Returns
        -------
        Restored

        Raises
        ------
        RestorationError
            If something is not as stated.
        """
        planes = planes_of(image)
        b, h, w = planes.shape
        bad = mask_of(mask, planes.shape)
        sky = np.array([sky_of(plane, ~hide) for plane, hide in zip(planes, bad, strict=True)])
        centred_planes = torch.from_numpy((planes - sky[:, None, None]).astype(np.float32))
        hidden = torch.from_numpy(bad)
        sigma = noise_given(noise, b)
        if sigma is None:
            sigma = noise_of(centred_planes[None], ~hidden[None] if bad.any() else None)[0, :, 0, 0]
        kernel, fwhm = self._psf(psf, psf_fwhm, centred_planes / sigma[:, None, None], hidden)
        image_out, deviation = np.empty_like(planes), np.empty_like(planes)
        for top in range(0, h, TILE):
            for left in range(0, w, TILE):
                tile = _Tile.at(top, left, h, w)
                said, error = self._tile(
                    centred_planes[(slice(None), *tile.read)], hidden[(slice(None), *tile.read)],
                    sigma, kernel, fwhm,
                )  # fmt: skip
                image_out[(slice(None), *tile.write)] = said[(slice(None), *tile.kept)]
                deviation[(slice(None), *tile.write)] = error[(slice(None), *tile.kept)]
        image_out += sky[:, None, None].astype(np.float32)
        return Restored(image_out, deviation, sigma.numpy().copy(), fwhm)

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (float16) into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{k}": v.half() for k, v in self.network.state_dict().items()}
        if self.blur is not None:
            tensors |= {f"blur.{k}": v.float() for k, v in self.blur.state_dict().items()}
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        save_file(tensors, folder / "model.safetensors")
        config = {"format": FORMAT, "shape": asdict(self.network.shape), "factor": self.factor}
        text = json.dumps(config, indent=1, allow_nan=False)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Restorer:
        """Read weights from a folder.

        Raises
        ------
        RestorationError
            If a file is missing, broken, of another format, or does not fit the other.
        """
        folder = Path(folder)
        advice = "Take the folder models/weights/restoration of a release, or train anew."
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise RestorationError(f"Cannot read weights in {folder}: {error}. {advice}") from None
        try:
            if config["format"] != FORMAT:
                raise ValueError(f"the format is {config['format']}, not {FORMAT}")
            network = RestorationNetwork(RestorationShape(**config["shape"]))
            network.load_state_dict(_named(tensors, "network."))
            blur = None
            if any(name.startswith("blur.") for name in tensors):
                blur = BlurEstimator()
                blur.load_state_dict(_named(tensors, "blur."))
            return cls(network, float(config["factor"]), blur)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RestorationError(
                f"The weights in {folder} do not fit: {error}. {advice}"
            ) from None

    def _psf(
        self, psf: ArrayLike | None, fwhm: float | None, planes: Tensor, bad: Tensor
    ) -> tuple[Tensor | None, float]:
        if psf is not None:
            kernel = kernel_of(psf)
            return kernel, width_of(kernel.numpy())
        if fwhm is None:
            fwhm = 0.0 if self.blur is None else self.blur.fwhm(filled(planes[None], bad[None]))
        if not (np.isfinite(fwhm) and 0 <= fwhm <= WIDEST):
            raise RestorationError(
                f"The width of the PSF must be 0 to {WIDEST:g} pixels, not {fwhm}; bin the image."
            )
        if fwhm < 0.5:
            return None, 0.0
        moffat = moffat_psf(fwhm, USUAL_BETA)
        return centred(moffat, len(moffat)), float(fwhm)

    def _tile(
        self, planes: Tensor, bad: Tensor, sigma: Tensor, psf: Tensor | None, fwhm: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        b, h, w = planes.shape
        image, deviation = torch.empty(b, h, w), torch.empty(b, h, w)
        for start in range(0, max(b - PLANES, 0) + PLANES, PLANES):
            if start >= b:
                break
            first = min(start, max(0, b - PLANES))
            part = slice(first, min(first + PLANES, b))
            count = part.stop - part.start
            observed = torch.zeros(1, PLANES, h, w)
            hidden = torch.ones(1, PLANES, h, w, dtype=torch.bool)
            noise = torch.ones(1, PLANES, 1, 1)
            observed[0, :count], hidden[0, :count] = planes[part], bad[part]
            noise[0, :count, 0, 0] = sigma[part]
            with torch.inference_mode():
                ready = prepared(observed, hidden, None if psf is None else psf[None], noise)
                said, log_deviation = self.network(
                    ready.planes, ready.filters.wiener, ready.filters.tikhonov, hidden,
                    torch.tensor([fwhm]),
                )  # fmt: skip
                said = flux_kept(said, ready.filters)
            image[part] = (said * noise)[0, :count]
            deviation[part] = (self.factor * torch.exp(log_deviation) * noise)[0, :count]
        return image.numpy(), deviation.clamp(min=1e-30).numpy()


@lru_cache(maxsize=1)
def shipped() -> Restorer:
    """Return the restorer with the weights that come with the package; read once."""
    return Restorer.load(SHIPPED)


@dataclass(frozen=True)
class _Tile:
    read: tuple[slice, slice]
    write: tuple[slice, slice]
    kept: tuple[slice, slice]

    @classmethod
    def at(cls, top: int, left: int, h: int, w: int) -> _Tile:
        read, write, kept = zip(*(_span(top, h), _span(left, w)), strict=True)
        return cls(read, write, kept)


def _span(start: int, length: int) -> tuple[slice, slice, slice]:
    stop = min(start + TILE, length)
    first, last = max(0, min(start - MARGIN, length - SMALLEST)), min(length, stop + MARGIN)
    return slice(first, last), slice(start, stop), slice(start - first, stop - first)


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    part = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
    for name, value in part.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{prefix}{name} holds values that are not finite")
    return part
