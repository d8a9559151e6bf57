"""Text and units as they are sent."""

from typing import Any

import pydantic
import pytest

from domain.text import Email, Label, Name, Note, Phrase
from domain.units import CANONICAL, UNITS, Unit, suggestions


def read(kind: Any, value: object) -> object:
    """As a command reads it."""
    return pydantic.TypeAdapter[object](kind).validate_python(value, strict=True)


def fault(kind: Any, value: object) -> str:
    """The type of error it is refused with."""
    with pytest.raises(pydantic.ValidationError) as refused:
        read(kind, value)
    return refused.value.errors()[0]["type"]


@pytest.mark.parametrize("text", ["TH 108", " é\u0301 ", "橋", '18" PIPE', "a" * 200, "\u202eשלום"])
def test_text_is_kept_as_it_is(text: str) -> None:
    assert read(Name, text) == text


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x85", "\x9f"])
@pytest.mark.parametrize("kind", [Name, Label, Phrase, Note])
def test_control_characters_are_refused(kind: Any, character: str) -> None:
    assert fault(kind, f"a{character}b") == "text_control_character"


def test_lone_surrogates_are_refused() -> None:
    assert fault(Note, "a\ud800b") == "string_unicode"
    with pytest.raises(pydantic.ValidationError, match="Invalid JSON"):
        pydantic.TypeAdapter[str](Note).validate_json(rb'"a\ud800b"')


def test_line_ends_belong_in_notes_only() -> None:
    assert read(Note, "one\r\ntwo\tthree") == "one\r\ntwo\tthree"
    assert fault(Name, "one\ntwo") == "text_control_character"


@pytest.mark.parametrize("blank", ["", " ", "\u00a0\u2003"])
def test_a_name_is_not_blank(blank: str) -> None:
    assert fault(Name, blank) == "text_blank"


def test_lengths_are_bounded() -> None:
    assert {fault(kind, "a" * 10_001) for kind in (Name, Label, Phrase, Note, Email)} == {"string_too_long"}


@pytest.mark.parametrize(
    "wrong", ["ada", "ada@", "@northern.example", "ada@northern", "a b@c.de", "a@b@c.de", "a@b.de\n"]
)
def test_an_email_looks_like_one(wrong: str) -> None:
    assert read(Email, "Ada.W+bids@northern.example") == "Ada.W+bids@northern.example"
    with pytest.raises(pydantic.ValidationError):
        read(Email, wrong)


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        *(("C Y", "CY"), ("CY", "CY"), ("cu. yd.", "CY"), ("EACH", "EA"), ("L F", "LF"), ("Lump Sum", "LS")),
        *(("100 EA", "100EA"), ("1000 LF", "1000LF"), ("m³", "M3"), ("HOUR", "HR"), ("MBM", "MBF"), ("TON", "TON")),
    ],
)
def test_spellings_of_a_unit(written: str, unit: str) -> None:
    assert read(Unit, written) == unit


def test_every_unit_of_the_state_lists_is_known() -> None:
    listed = "L F,EACH,LS,S Y,S F,C Y,CY,TON,LB,TREE,HOUR,SHRB,SYS,UDAY,GAL,ACRE,STR,PLT,RDST,AMBY,SIGS,WEEK,VINE"
    assert {read(Unit, unit) for unit in f"{listed},DOL,MGAL,MBM,DAY".split(",")} <= set(UNITS)


def test_canonical_units_are_their_own_spelling_and_nothing_is_converted() -> None:
    assert {unit: read(Unit, unit) for unit in UNITS} == {unit: unit for unit in UNITS}
    assert read(Unit, "TONNE") != read(Unit, "TON")
    assert set(CANONICAL.values()) == set(UNITS)


@pytest.mark.parametrize(("unknown", "meant"), [("CUYDS", "CY"), ("TONNS", "TON"), ("SQYDS", "SY"), ("HOURLY", "HR")])
def test_an_unknown_unit_is_refused_with_suggestions(unknown: str, meant: str) -> None:
    assert meant in suggestions(unknown)
    with pytest.raises(pydantic.ValidationError, match=f"not a unit of the controlled list.*{meant}"):
        read(Unit, unknown)


@pytest.mark.parametrize("ambiguous", ["M", "T", "", "  ", "-", "🏗"])
def test_ambiguous_and_empty_units_are_refused(ambiguous: str) -> None:
    assert fault(Unit, ambiguous) == "unit_unknown"
