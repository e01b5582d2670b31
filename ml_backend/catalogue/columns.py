"""Results as columns of a catalogue: for each type of control, the makers of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from astropy import units
from astropy.table import MaskedColumn

from ml_backend.catalogue.choice_columns import NONE, SEPARATOR, model_columns, vote_columns
from ml_backend.catalogue.column import Names, column
from ml_backend.catalogue.number_columns import number_columns, path_columns, star_columns
from ml_backend.catalogue.results import Results
from ml_backend.catalogue.shape_columns import shape_columns
from ml_backend.labelstudio.config import (
    BitmaskControl,
    BoxControl,
    BrushControl,
    ChoicesControl,
    EllipseControl,
    NumberControl,
    PointControl,
    PolygonControl,
    RatingControl,
    TaxonomyControl,
)

__all__ = ["MAKERS", "NONE", "SEPARATOR", "Names", "all_columns", "column", "galaxy_columns"]

Maker = Callable[[Any, Results, Names], Iterator[MaskedColumn]]
"""Makes columns [n] of one control; given the control, what is known, and names to take from."""

MAKERS: dict[type, tuple[Maker, ...]] = {
    ChoicesControl: (vote_columns, model_columns),
    NumberControl: (number_columns,),
    RatingControl: (star_columns,),
    TaxonomyControl: (path_columns,),
    BoxControl: (shape_columns,),
    EllipseControl: (shape_columns,),
    PointControl: (shape_columns,),
    PolygonControl: (shape_columns,),
    BrushControl: (shape_columns,),
    BitmaskControl: (shape_columns,),
}
"""By type of control. A new type of answer gets its columns by an entry here."""


def galaxy_columns(results: Results, names: Names) -> Iterator[MaskedColumn]:
    """Who the galaxies are, and how they were chosen."""
    nowhere = np.isnan(results.ra)
    yield column(names.take("id"), np.array(results.ids, np.str_), None,
                 "Identifier of the galaxy, as it was imported", "meta.id;meta.main")  # fmt: skip
    yield column(names.take("ra"), results.ra, nowhere, "Right ascension, ICRS",
                 "pos.eq.ra;meta.main", units.deg)  # fmt: skip
    yield column(names.take("dec"), results.dec, nowhere, "Declination, ICRS",
                 "pos.eq.dec;meta.main", units.deg)  # fmt: skip
    yield column(names.take("task_id"), results.task_ids, None,
                 "Number of the task in Label Studio", "meta.id")  # fmt: skip
    yield column(names.take("drawn_at_random"), results.drawn_at_random, None,
                 "Has votes and was chosen by no model: measure rates on these alone",
                 "meta.code")  # fmt: skip
    known = np.zeros(len(results), np.bool_)
    for answers in results.answers.values():
        known |= answers.known
    for said in results.said.values():
        known[list(said.model)] = True
    version = np.full(len(results), results.version)
    yield column(names.take("model_version"), version, ~known,
                 "Version of the model that answered", "meta.version")  # fmt: skip


def all_columns(results: Results) -> Iterator[MaskedColumn]:
    """Return all columns [n] of a catalogue of results.

    Questions about single regions have none here; see `objects.objects_table`.
    """
    names = Names()
    yield from galaxy_columns(results, names)
    for control in results.config.answered:
        if control.per_region:
            continue
        for maker in MAKERS.get(type(control), ()):
            yield from maker(control, results, names)
