"""Addresses of pictures: what is signed, what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.errors import FetchError
from ml_backend.pictures import addresses
from ml_backend.pictures.addresses import PictureAddresses, Wanted, extension_of, token_in
from models.images import LOOKS

BASE = "https://galaxies.example.org:9090"
SOURCE = "/data/local-files/?d=survey/a%20b.fits"


def signer(secret: str = "s", **options: float) -> PictureAddresses:
    return PictureAddresses(secret, BASE + "/", **options)


def token(address: str) -> str:
    found = token_in(address)
    assert found is not None
    return found


def test_the_looks_are_those_that_can_be_drawn() -> None:
    assert addresses.LOOKS == LOOKS


@given(
    st.text(min_size=1, max_size=300).filter(lambda text: text[:5].lower() != "data:"),
    st.sampled_from(LOOKS),
    st.none() | st.text(max_size=20),
)
def test_what_is_signed_is_read_again(source: str, look: str, band: str | None) -> None:
    try:
        address = signer().address(source, look, band)
    except ValueError:
        assert token_in(source)
        return
    assert address.startswith(f"{BASE}/pictures/")
    assert address.isascii()
    assert signer().read(token(address)) == Wanted(source, look, band)
    assert signer().source(address) == source


def test_extensions_travel_with_the_source() -> None:
    for given_, read in ((3, 3), ("SCI", "SCI"), ("images/17", "images/17"), ("0", 0)):
        address = signer().address(SOURCE, extension=given_)
        assert signer().source(address) == f"{SOURCE}#extension={given_}"
        assert extension_of(address) == read
        assert extension_of(f"https://h/a.fits#extension={given_}") == read
    for address in ("https://h/a.jpg#top", "https://h/a.jpg", "", SOURCE, "#", "#extension="):
        assert extension_of(address) is None
    for odd in ("", "a b", "a&b", "a#b", "%41", "a\0"):
        with pytest.raises(ValueError, match="cannot stand in an address"):
            signer().address(SOURCE, extension=odd)


@pytest.mark.parametrize(
    ("source", "look", "said"),
    [
        (SOURCE, "nosuch", "no look"),
        ("data:image/png;base64,AAAA", "lupton", "not of a data: URI"),
        ("https://h/" + "x" * 5000, "lupton", "too long"),
        (f"{BASE}/pictures/abc.def.png", "lupton", "or a picture"),
    ],
)
def test_what_cannot_be_a_picture(source: str, look: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        signer().address(source, look)


def test_side_by_side() -> None:
    found = signer().side_by_side(SOURCE, 2)
    assert set(found) == {"image", "image_asinh", "image_zscale"}
    for name, address in found.items():
        wanted = signer().read(token(address))
        look = name.removeprefix("image_") if name != "image" else "lupton"
        assert wanted == Wanted(f"{SOURCE}#extension=2", look)
    example = Path(__file__).parents[3] / "labeling_configs" / "looks.xml"
    assert all(f'"${name}"' in example.read_text() for name in found)


def test_restored_images_have_addresses_of_both_kinds() -> None:
    for look in addresses.RESTORED:
        address = signer().address(SOURCE, look)
        assert signer().read(token(address)) == Wanted(SOURCE, look)
        with pytest.raises(ValueError, match="takes none"):
            signer().address(SOURCE, look, "r")
    file = signer().fits_address(SOURCE, extension=2)
    assert file.endswith(".fits")
    assert signer().read(token(file)) == Wanted(f"{SOURCE}#extension=2", "restored")
    # Learning reads what lies behind either.
    assert signer().source(file) == f"{SOURCE}#extension=2"
    with pytest.raises(ValueError, match="or a picture"):
        signer().address(file)


def test_only_our_own_signature_counts() -> None:
    address = signer().address(SOURCE)
    assert signer("another").read(token(address)) is None
    with pytest.raises(FetchError, match="not signed by this backend"):
        signer("another").source(address)
    # On another host it is nothing of ours.
    foreign = address.replace(BASE, "https://other.example")
    assert signer("another").source(foreign) == foreign
    assert signer().source(foreign) == SOURCE
    with pytest.raises(ValueError, match="empty"):
        PictureAddresses("", BASE)


def test_every_changed_character_is_noticed() -> None:
    good = token(signer().address(SOURCE, "zscale", "r"))
    for place, letter in enumerate(good):
        other = "A" if letter != "A" else "B"
        changed = good[:place] + other + good[place + 1 :]
        read = signer().read(changed)
        # The last letters of base64 carry bits that nobody reads.
        assert read is None or (read == signer().read(good) and place == len(good) - 1)
    payload, _, signature = good.rpartition(".")
    for odd in ("", ".", payload, signature, f"{payload}.", f".{signature}", f"{good}.{signature}",
                "\u00e9" * 40, "A" * 10_000):  # fmt: skip
        assert signer().read(odd) is None


@pytest.mark.parametrize(
    "asked",
    [
        "text",
        [],
        {},
        {"s": 1, "l": "lupton"},
        {"s": "a", "l": None},
        {"s": "a", "l": "lupton", "b": 3},
        {"s": "a", "l": "lupton", "u": "soon"},
    ],
)
def test_senseless_contents_are_refused_though_signed(asked: object) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(asked).encode()).rstrip(b"=")
    assert signer().read(signer()._signer.sign(payload).decode()) is None


@given(st.text(max_size=200))
def test_any_text_is_read_or_not(text: str) -> None:
    assert signer().read(text) is None
    extension_of(text)
    token_in(text)
    extension_of(f"{BASE}/pictures/{text}.png")


def test_addresses_may_end() -> None:
    address = signer(days=2, now=lambda: 1000.0).address(SOURCE)
    wanted = signer().read(token(address))
    assert wanted is not None
    assert wanted.until == 1000 + 2 * 86_400
    assert signer().source(address) == SOURCE
