"""From an image to what the LVM sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from models.galaxy_image import GalaxyImage, ImageError
from models.rendering import to_rgb8
from models.stretch import asinh_stretch, sky_level


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of an LVM; part of the LVM's configuration.

    Attributes
    ----------
    kind : {"rgb8", "flux"}
        "rgb8": the picture that people see, 0 to 1 in red, green, blue; flux images are drawn by
        `to_rgb8` first. "flux": measured values; 8-bit pictures are refused, because their flux
        cannot be told.
    size : int
        Side of the input, pixels.
    crop : float
        Side of the central square that is kept, as a fraction of the shorter side, (0, 1].
    bands : tuple of three str, or empty
        Bands of a "flux" input by name. Empty: all three bands of the file in its order, or its
        single one three times.
    stretch : {"asinh", "linear"}
        Of a "flux" input: `asinh_stretch` to [0, 1] band by band, or the values times `gain`.
    gain : float
        Factor of the linear stretch, > 0.
    softness, bright : float
        Of the asinh stretch, in sigma of the sky.
    mean, std : three floats each
        Subtracted, then divided by, last of all.
    """

    kind: Literal["rgb8", "flux"]
    size: int = 128
    crop: float = 1.0
    bands: tuple[str, ...] = ()
    stretch: Literal["asinh", "linear"] = "asinh"
    gain: float = 1.0
    softness: float = 3.0
    bright: float = 300.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("bands", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        checks = {
            "kind must be rgb8 or flux": self.kind in ("rgb8", "flux"),
            "size must be 8 to 2048": 8 <= self.size <= 2048,
            "crop must be in (0, 1]": 0 < self.crop <= 1,
            "bands must be none or three": len(self.bands) in (0, 3),
            "bands are chosen for flux only": not (self.bands and self.kind == "rgb8"),
            "stretch must be asinh or linear": self.stretch in ("asinh", "linear"),
            "gain, softness and bright must be above 0": min(self.gain, self.softness) > 0
            and self.bright > 0,
            "mean must be three numbers": len(self.mean) == 3,
            "std must be three numbers above 0": len(self.std) == 3 and min(self.std) > 0,
        }
        failed = [text for text, holds in checks.items() if not holds]
        if failed:
            raise ValueError(f"This preprocessing cannot be used: {'; '.join(failed)}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Rebuild from `as_dict`.

        Raises
        ------
        ValueError
            If a field is unknown, missing or cannot be used.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"A preprocessing has no {', '.join(unknown)}.")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"This preprocessing cannot be used: {error}.") from None


def to_tensor(image: GalaxyImage, preprocessing: Preprocessing) -> Tensor:
    """Make the input of an LVM: crop the centre, stretch, resample with antialiasing.

    A crop that has the wanted size already is not resampled. Resampling is bilinear with a
    support that grows with the scale, so that small structure is averaged and not aliased.

    Parameters
    ----------
    image : GalaxyImage
    preprocessing : Preprocessing

    Returns
    -------
    float32 tensor [3, size, size]

    Raises
    ------
    ImageError
        If the image does not have the kind or bands that the LVM wants, or its values overflow.
    """
    values = _values(image, preprocessing)
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    size = preprocessing.size
    if tensor.shape[-2:] != (size, size):
        resampled = interpolate(
            tensor[None], (size, size), mode="bilinear", align_corners=False, antialias=True
        )
        tensor = resampled[0]
    return _normalised(tensor, preprocessing)


def whole_tensor(image: GalaxyImage, preprocessing: Preprocessing) -> Tensor:
    """Make what an LVM sees of a whole image, at its own resolution and as people see it.

    Nothing is cropped or resampled. Images whose first row is at the bottom are turned over, so
    that rows and columns are those of the picture (`models.rendering.to_rgb8`).

    Parameters
    ----------
    image : GalaxyImage
    preprocessing : Preprocessing

    Returns
    -------
    float32 tensor [3, H, W]

    Raises
    ------
    ImageError
        As :func:`to_tensor`.
    """
    values = _values(image, preprocessing, whole=True)
    # A picture drawn from flux has been turned over already.
    if preprocessing.kind == "flux" and image.origin == "lower":
        values = values[:, ::-1]
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return _normalised(tensor, preprocessing)


def _values(
    image: GalaxyImage, preprocessing: Preprocessing, whole: bool = False
) -> NDArray[np.float32]:
    if preprocessing.kind == "flux":
        return _flux(image, preprocessing, whole)
    picture = image.pixels
    if image.kind == "flux":
        picture = np.moveaxis(to_rgb8(image).astype(np.float32), -1, 0)
    part = picture if whole else _crop(picture, preprocessing.crop)
    return part / np.float32(255)


def _normalised(tensor: Tensor, preprocessing: Preprocessing) -> Tensor:
    mean = torch.tensor(preprocessing.mean)[:, None, None]
    std = torch.tensor(preprocessing.std)[:, None, None]
    prepared = (tensor - mean) / std
    if not torch.isfinite(prepared).all():
        raise ImageError("The pixels are too large: what the LVM would see is not finite.")
    return prepared


def _flux(image: GalaxyImage, preprocessing: Preprocessing, whole: bool) -> NDArray[np.float32]:
    if image.kind != "flux":
        raise ImageError(
            "The LVM wants measured flux (FITS, 16-bit or float files); this is an 8-bit picture."
        )
    if preprocessing.bands:
        absent = [name for name in preprocessing.bands if name not in image.bands]
        if absent:
            raise ImageError(
                f"The image has no band {', '.join(absent)}; it has {', '.join(image.bands)}."
            )
        order = [image.bands.index(name) for name in preprocessing.bands]
    elif len(image.bands) == 3:
        order = [0, 1, 2]
    elif len(image.bands) == 1:
        order = [0, 0, 0]
    else:
        raise ImageError(
            f"The image has {len(image.bands)} bands ({', '.join(image.bands)}); "
            "the preprocessing of the LVM must name the three to use."
        )
    pixels = image.pixels[order]
    cropped = pixels if whole else _crop(pixels, preprocessing.crop)
    if preprocessing.stretch == "linear":
        return cropped * np.float32(preprocessing.gain)
    # The sky is measured on the whole image: a close crop may hold little of it.
    levels = [sky_level(image.pixels[index]) for index in order]
    return asinh_stretch(cropped, preprocessing.softness, preprocessing.bright, levels)


def _crop(pixels: NDArray[np.float32], fraction: float) -> NDArray[np.float32]:
    """Central square, its side `fraction` of the shorter side."""
    height, width = pixels.shape[-2:]
    side = max(1, round(min(height, width) * fraction))
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[..., top : top + side, left : left + side]
