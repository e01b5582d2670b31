"""One column of a catalogue: its name, its values, what they mean."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import MaskedColumn

_LONGEST_NAME = 60  # FITS keeps 68 characters of a column's name


class Names:
    """Names of columns: ASCII letters, digits and underscores, different in small letters too."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, *parts: str) -> str:
        """Return a name made of parts that no other column has."""
        plain = [re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_") or "x" for part in parts]
        name = "_".join(plain)[:_LONGEST_NAME]
        name = name if name[0].isalpha() else f"c_{name}"
        made, number = name, 1
        while made.lower() in self._taken:
            number += 1
            made = f"{name}_{number}"
        self._taken.add(made.lower())
        return made


def column(
    name: str,
    values: npt.NDArray[Any],
    missing: npt.NDArray[np.bool_] | None,
    description: str,
    ucd: str,
    unit: Any = None,
) -> MaskedColumn:
    """Make a column; what is missing is masked, and empty, NaN or 0 beneath.

    Parameters
    ----------
    name : str
    values : [n]
    missing : bool [n] or None
        None: nothing is.
    description : str
    ucd : str
        UCD1+ words (IVOA).
    unit : astropy unit, optional
    """
    mask = np.zeros(len(values), np.bool_) if missing is None else missing
    if mask.any():
        nothing: Any = {"U": "", "f": np.nan}.get(values.dtype.kind, 0)
        values = np.where(mask, nothing, values).astype(values.dtype)
    return MaskedColumn(
        values, name=name, mask=mask, unit=unit, description=description, meta={"ucd": ucd}
    )
