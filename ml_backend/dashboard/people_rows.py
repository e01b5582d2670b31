"""Rows of the page for people: pseudonyms, order, columns; nothing here asks Label Studio."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

PER_PAGE = 50
OTHERS = "others"
IN_STACK = 7
"""People with a colour of their own in a plot; with the others as many as there are colours."""
SORTS = {
    "votes": ("Answers", True),
    "last_seen": ("Last seen", True),
    "seconds": ("Seconds each", False),
    "reliability": ("Reliability", False),
    "kappa": ("Kappa", False),
    "gold_share": ("Golds right", False),
    "accepted_share": ("Suggestions kept", True),
    "suspicions": ("Suspicions", True),
}
"""What the table may be sorted by: its word, and whether the largest come first."""
COLUMNS = (
    "person", "answers", "skips", "tasks", "median_seconds", "answers_per_hour", "last_seen",
    "reliability", "reliability_low", "reliability_high", "golds", "golds_right", "consensus",
    "consensus_same", "kappa", "kappa_error", "kappa_tasks", "suggestions_shown",
    "suggestions_kept", "suggestions_hidden", "hidden_agreed",
)  # fmt: skip

# Without letters and digits that look alike.
_SIGNS = "ACDEFGHJKLMNPQRTUVWXY34679"


def pseudonym(secret: str, project_id: int, person: str) -> str:
    """Return a person's name for this project, e.g. ``Annotator K7QX2``.

    It stays the same, differs between projects, and cannot be traced back without the secret.
    """
    told = hmac.new(secret.encode(), f"people {project_id} {person}".encode(), hashlib.sha256)
    number, signs = int.from_bytes(told.digest()[:8], "big"), ""
    for _ in range(5):
        number, at = divmod(number, len(_SIGNS))
        signs += _SIGNS[at]
    return f"Annotator {signs}"


def names_of(users: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what Label Studio's users are called, by ``person 12``."""
    return {
        f"person {user['id']}": _called(user) for user in users if isinstance(user.get("id"), int)
    }


def named(
    people: Iterable[Mapping[str, Any]],
    secret: str,
    project_id: int,
    names: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return people with a ``name`` (a pseudonym unless `names` has theirs) and shares.

    Two people whose pseudonyms fall together are told apart by a number.
    """
    table, taken = [], dict[str, int]()
    for one in people:
        name = pseudonym(secret, project_id, str(one["person"]))
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name += f"-{taken[name]}"
        real = (names or {}).get(str(one["person"]))
        table.append(
            {
                **one,
                "key": name.removeprefix("Annotator "),
                "name": f"{name} ({real})" if real else name,
                "gold_share": _share(one["golds_right"], one["golds"]),
                "accepted_share": _share(one["accepted"], one["shown"]),
                "blind_share": _share(one["blind_agreed"], one["blind"]),
                "consensus_share": _share(one["consensus_same"], one["consensus"]),
                "seen": datetime.fromisoformat(one["last_seen"]) if one["last_seen"] else None,
            }
        )
    return table


def compared_at(data: Mapping[str, Any]) -> datetime | None:
    """Return when people were last compared with one another; None where that is not told."""
    try:
        return datetime.fromisoformat(data["counted"]["at"])
    except (KeyError, TypeError, ValueError):
        return None


def ordered(table: Sequence[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """Sort people by one of `SORTS`; those of whom nothing is known come last."""
    largest = SORTS[sort][1]

    def value(one: Mapping[str, Any]) -> Any:
        return len(one["suspicions"]) if sort == "suspicions" else one[sort]

    known = [one for one in table if value(one) is not None]
    rest = [one for one in table if value(one) is None]
    return sorted(known, key=value, reverse=largest) + rest


def csv_row(one: Mapping[str, Any]) -> list[Any]:
    """Return one person as `COLUMNS`."""
    return [
        one["name"], one["votes"], one["skips"], one["tasks"], one["seconds"], one["per_hour"],
        one["last_seen"], one["reliability"], one["low"], one["high"], one["golds"],
        one["golds_right"], one["consensus"], one["consensus_same"], one["kappa"],
        one["kappa_error"], one["shared"], one["shown"], one["accepted"], one["blind"],
        one["blind_agreed"],
    ]  # fmt: skip


def confusions(one: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return a person's confusion tables: title, names of rows and columns, and the shares."""
    found = []
    for skill in one["skills"]:
        details, control = skill.get("details") or {}, skill["control"]
        if details.get("confusion"):
            names = list(labels.get(control, ()))
            found.append({"title": control, "names": names, "rows": details["confusion"]})
        for label, rows in (details.get("by_label") or {}).items():
            title, names = f"{control}: {label}", ["not", "yes"]
            found.append({"title": title, "names": names, "rows": rows})
    return [table for table in found if len(table["names"]) == len(table["rows"])]


def numbers(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a person's bias and scatter at each control that asks for a number."""
    return [
        {"control": skill["control"], "answers": skill["votes"], **skill["details"]}
        for skill in one["skills"]
        if "scatter" in (skill.get("details") or {})
    ]


def days_of(
    kept: Mapping[str, Any], said: Mapping[str, str]
) -> tuple[dict[date, dict[str, int]], list[str]]:
    """Return answers by day and name, and the names in the order of the stack.

    Parameters
    ----------
    kept : mapping
        ``first`` (the first day), ``people``, and ``counts`` with a row for each and one for all
        others, as the figure keeps them.
    said : mapping of person to name
        Others keep the name that they have.
    """
    people = [said.get(name, name) for name in kept.get("people", ())]
    stack = [*people[:IN_STACK], OTHERS]
    days: dict[date, dict[str, int]] = {}
    for place, counts in enumerate(kept.get("counts", ())):
        name = people[place] if place < min(len(people), IN_STACK) else OTHERS
        for after, count in enumerate(counts):
            if count:
                day = date.fromisoformat(kept["first"]) + timedelta(days=after)
                row = days.setdefault(day, {})
                row[name] = row.get(name, 0) + count
    return dict(sorted(days.items())), stack


def _share(hits: int, count: int) -> float | None:
    return hits / count if count else None


def _called(user: Mapping[str, Any]) -> str:
    whole = " ".join(str(user.get(part) or "") for part in ("first_name", "last_name")).strip()
    return whole or str(user.get("email") or user.get("username") or f"user {user['id']}")
