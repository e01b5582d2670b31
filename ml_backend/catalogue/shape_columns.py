"""Columns of controls that mark places: how many objects, and the measures of the main one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy import units
from astropy.table import MaskedColumn

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.column import Names, column
from ml_backend.catalogue.objects import SOURCES, MarkedObject, counts, main_object
from ml_backend.catalogue.results import Results
from ml_backend.labelstudio.config import (
    BoxControl,
    EllipseControl,
    PointControl,
    RegionControl,
)

_POSITION = (
    ("x", "x", "Column in the file, the first is 1", "pos.cartesian.x;instr.pixel", units.pix),
    ("y", "y", "Row in the file, the first is 1", "pos.cartesian.y;instr.pixel", units.pix),
    ("ra", "ra", "Right ascension of its centre, ICRS", "pos.eq.ra", units.deg),
    ("dec", "dec", "Declination of its centre, ICRS", "pos.eq.dec", units.deg),
)
_LENGTHS: dict[type, tuple[str, str]] = {
    BoxControl: ("Longer side", "Shorter side"),
    EllipseControl: ("Major axis (whole)", "Minor axis (whole)"),
}


def measure_columns(
    control: RegionControl | None,
) -> list[tuple[str, str, str, str, Any]]:
    """Return (name, attribute of `Measures`, description, UCD, unit) of what a control measures.

    None: of all kinds of controls.
    """
    made = list(_POSITION)
    if control is None or isinstance(control, BoxControl | EllipseControl):
        long, short = _LENGTHS.get(
            type(control), ("Longer side, or major axis", "Shorter side, or minor axis")
        )
        made += [
            ("length_pix", "length", long, "phys.size;instr.pixel", units.pix),
            ("breadth_pix", "breadth", short, "phys.size;instr.pixel", units.pix),
            (
                "rotation",
                "rotation",
                "Direction of the length in the file, from +x towards +y",
                "pos.posAng;instr.pixel",
                units.deg,
            ),
            ("length", "sky_length", long, "phys.angSize", units.arcsec),
            ("breadth", "sky_breadth", short, "phys.angSize", units.arcsec),
            (
                "pa",
                "position_angle",
                "Position angle of the length, from north through east",
                "pos.posAng",
                units.deg,
            ),
        ]
    if not isinstance(control, PointControl):
        made += [
            ("area_pix", "area", "Area", "phys.area;instr.pixel", units.pix**2),
            ("area", "sky_area", "Area on the sky", "phys.angArea", units.arcsec**2),
        ]
    return made


def shape_columns(control: RegionControl, results: Results, names: Names) -> Iterator[MaskedColumn]:
    """What people and the model marked: numbers of objects, and the measures of the main one."""
    asked = f"(marked with {clean_text(control.name, 100)!r})"
    for source in SOURCES:
        who = () if source == "people" else ("model",)
        by = "people" if source == "people" else "the model"
        note = ";meta.modelled" if source == "model" else ""
        said = np.zeros(len(results), np.int32)
        count = np.zeros(len(results), np.int32)
        main: list[MarkedObject | None] = []
        per_label = {label: np.zeros(len(results), np.int32) for label in control.labels}
        for row in range(len(results)):
            said[row] = results.objects.answered(row, control.name, source)
            found = results.objects.of(row, control.name, source) if said[row] else []
            agreed = [one for one in found if counts(one)]
            count[row] = len(agreed)
            for one in agreed:
                if one.shape.label in per_label:
                    per_label[one.shape.label][row] += 1
            middle = main_object(found)
            main.append(middle.small if middle else None)
        silent = said == 0
        if source == "people":
            yield column(names.take(control.name, "votes"), said, None,
                         f"Number of people who answered {asked}", "meta.number")  # fmt: skip
        rule = ", that are probably real" if source == "people" else ""
        yield column(names.take(control.name, *who, "count"), count, silent,
                     f"Number of objects by {by}{rule} {asked}", "meta.number" + note)  # fmt: skip
        if len(control.labels) > 1:
            for label, counted in per_label.items():
                text = f"Number of objects by {by} with the label {clean_text(label, 100)!r}"
                yield column(names.take(control.name, *who, "count", label), counted, silent,
                             text, "meta.number" + note)  # fmt: skip
        yield from _of_main(control, results, names, main, who, f"of the main object by {by}", note)


def _of_main(
    control: RegionControl,
    results: Results,
    names: Names,
    main: list[MarkedObject | None],
    who: tuple[str, ...],
    of: str,
    note: str,
) -> Iterator[MaskedColumn]:
    nothing = np.array([one is None for one in main], np.bool_)
    if len(control.labels) > 1:
        labels = [clean_text(one.shape.label, 200) if one else "" for one in main]
        yield column(names.take(control.name, *who, "label"), np.array(labels, np.str_), nothing,
                     f"Label {of}", "meta.code.class" + note)  # fmt: skip
    sure, what = (
        ("agreement", "Share of the people asked who marked it")
        if not who
        else ("confidence", "Calibrated probability that it is right")
    )
    yield _numbers(control, names, (*who, sure) if not who else (sure,),
                   [getattr(one, sure) if one else math.nan for one in main],
                   f"{what}, {of}", "stat.probability", None)  # fmt: skip
    if not who:
        yield _numbers(control, names, ("probability",),
                       [one.probability if one else math.nan for one in main],
                       f"Probability that it is real, by how reliable each person is, {of}",
                       "stat.probability", None)  # fmt: skip
    for name, attribute, description, ucd, unit in measure_columns(control):
        values = [getattr(one.measures, attribute) if one else math.nan for one in main]
        yield _numbers(control, names, (*who, name), values, f"{description}, {of}",
                       ucd + note, unit)  # fmt: skip


def _numbers(
    control: RegionControl,
    names: Names,
    name: tuple[str, ...],
    values: list[float],
    description: str,
    ucd: str,
    unit: Any,
) -> MaskedColumn:
    told = np.array(values, np.float64)
    made = names.take(control.name, *name)
    return column(made, told, np.isnan(told), description, ucd, unit)
