"""People in a report: the kept figure, checked, and what everybody is called in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_backend.dashboard import people_rows
from ml_backend.dashboard.report_period import counted_days
from ml_backend.store.database import Store
from ml_backend.store.figures import kept_figure

_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
_NUMBERS = ("seconds", "per_hour", "reliability", "low", "high", "kappa", "kappa_error")
_COUNTS = ("votes", "golds", "golds_right")


def kept_people(store: Store, project_id: int) -> dict[str, Any] | None:
    """Return the figure ``people``; None where there is none, or it cannot be read."""
    kept = kept_figure(store, project_id, "people")
    if kept is None:
        return None
    try:
        data = dict(kept.data)
        for one in people_rows.named(data["people"], "", project_id):
            _check(one, _NUMBERS, _COUNTS)
            for found in one["suspicions"]:
                str(found["sentence"])
        for one in data["controls"]:
            _check({"fleiss": None, **one}, ("fleiss", "alpha"), ("tasks",))
            str(one["control"])
        for arm in ("shown", "blind"):
            _check(data["anchoring"][arm], ("share", "low", "high"), ("answers",))
        data["anchoring"].get("warning")
        counted_days(data["days"])
    except _BROKEN:
        return None
    return data


def named_people(
    store: Store, project_id: int, people: Mapping[str, Any] | None, names: Mapping[str, str] | None
) -> list[dict[str, Any]]:
    """Return people with what they are called in the file.

    Parameters
    ----------
    store : Store
    project_id : int
    people : mapping or None
        As `kept_people` returns them.
    names : mapping or None
        Names by ``person 12``; whom it lacks keeps the number. None: pseudonyms.
    """
    listed = people["people"] if people else []
    if names is not None:
        names = {one["person"]: names.get(one["person"], one["person"]) for one in listed}
    return people_rows.named(listed, store.dashboard_secret(), project_id, names)


def caller(
    store: Store,
    project_id: int,
    table: Sequence[Mapping[str, Any]],
    names: Mapping[str, str] | None,
) -> Callable[[str], str]:
    """Return what tells how a person is called; sources other than persons stay as they are."""
    known = {str(one["person"]): str(one["name"]) for one in table}
    secret = store.dashboard_secret()

    def called(who: str) -> str:
        if who in known or not who.startswith("person "):
            return known.get(who, who)
        if names is not None:
            return names.get(who, who)
        return people_rows.pseudonym(secret, project_id, who)

    return called


def _check(row: Mapping[str, Any], numbers: Sequence[str], counts: Sequence[str]) -> None:
    for name in numbers:
        if row[name] is not None and not isinstance(row[name], int | float):
            raise TypeError(f"{name} is a number or nothing.")
    for name in counts:
        if not isinstance(row[name], int):
            raise TypeError(f"{name} is a whole number.")
