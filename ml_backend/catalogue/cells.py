"""Cells of text, made safe for the programs that open them."""

from __future__ import annotations

import re

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# What XML cannot hold: control characters, surrogates, and two that are no characters.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def safe_cell(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def clean_text(text: str, most: int = 500) -> str:
    """Return text that every format can hold: on one line, no control characters, not too long."""
    return _UNFIT.sub("", re.sub(r"[\t\r\n]+", " ", text)).strip()[:most]
