"""All objects that people and the model marked, as a catalogue: one row per object."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import Table

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.column import Names, column
from ml_backend.catalogue.exporting import results_meta
from ml_backend.catalogue.objects import SOURCES
from ml_backend.catalogue.region_files import shape_controls
from ml_backend.catalogue.results import Results
from ml_backend.catalogue.shape_columns import measure_columns


def objects_table(results: Results, now: datetime) -> Table:
    """Return one row per object: people's fused ones, then the model's, galaxy by galaxy.

    Parameters
    ----------
    results : Results
    now : datetime
        With its zone.

    Returns
    -------
    Table
        Joined with that of `results_table` by ``id`` or ``task_id``. What an object does not have
        (a point's size, the sky of a picture without WCS) is masked. ``object`` is the number
        within the galaxy, control and source: that of mask files, too.
    """
    controls = shape_controls(results)
    objects = [
        one.small
        for row in range(len(results))
        for one in results.objects.everything(row, controls)
    ]
    names, columns = Names(), []

    def add(
        name: str,
        values: npt.NDArray[Any],
        missing: npt.NDArray[np.bool_] | None,
        description: str,
        ucd: str,
        unit: Any = None,
    ) -> None:
        columns.append(column(names.take(name), values, missing, description, ucd, unit))

    rows = [one.row for one in objects]
    add("id", _texts([results.ids[row] for row in rows]), None, "Identifier of the galaxy",
        "meta.id;meta.main")  # fmt: skip
    add("task_id", results.task_ids[np.array(rows, np.int64)], None,
        "Number of the task in Label Studio", "meta.id")  # fmt: skip
    add("control", _texts([clean_text(one.control, 100) for one in objects]), None,
        "Control that it was marked with", "meta.code.class")  # fmt: skip
    add("source", _texts([one.source for one in objects]), None,
        f"Who marked it: {' or '.join(SOURCES)}", "meta.code")  # fmt: skip
    add("object", np.array([one.number for one in objects], np.int32), None,
        "Number within the galaxy, control and source", "meta.id.part")  # fmt: skip
    add("shape", _texts([one.shape.kind for one in objects]), None, "Kind of shape", "meta.code")
    labels = [clean_text(one.shape.label, 200) for one in objects]
    add("label", _texts(labels), np.array([not text for text in labels], np.bool_),
        "Label", "meta.code.class")  # fmt: skip
    of_model = np.array([one.source == "model" for one in objects], np.bool_)
    add("persons", np.array([one.persons for one in objects], np.int32), of_model,
        "Number of people who marked it", "meta.number")  # fmt: skip
    add("votes", np.array([one.asked for one in objects], np.int32), of_model,
        "Number of people who were asked", "meta.number")  # fmt: skip
    confidence = np.array([one.confidence for one in objects], np.float32)
    add("confidence", confidence, np.isnan(confidence),
        "The model's calibrated probability that it is right", "stat.probability")  # fmt: skip
    probability = np.array([one.probability for one in objects], np.float32)
    add("probability", probability, np.isnan(probability),
        "Probability that what people marked is real, by how reliable each of them is",
        "stat.probability")  # fmt: skip
    for name, attribute, description, ucd, unit in measure_columns(None):
        values = np.array([getattr(one.measures, attribute) for one in objects], np.float64)
        add(name, values, np.isnan(values), description, ucd, unit)
    table = Table(columns, copy=False)
    table.meta = results_meta(results, now)
    return table


def _texts(values: list[str]) -> npt.NDArray[Any]:
    return np.array(values, np.str_) if values else np.zeros(0, "U1")
