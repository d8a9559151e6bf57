"""Text → words: what people see is what finds it, and what is shown as a hit is what was looked for."""

import unicodedata
from collections.abc import Iterator
from itertools import pairwise

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cairn.embedded import Servers
from projections import words


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("2104504/00120", "2104504/00120"),
        ("2104504/00120", "2104504"),
        ("2104504/00120", "210450400120"),
        ("CU. YD. (C.Y.)", "c.y."),
        ("CY", "C.Y."),
        ("C.Y.", "cy"),
        ("BOX 4'-0\" X 6'-0\"", "4'-0\""),
        ("MILL-AND-OVERLAY", "and-over"),
        ("mill and overlay", "MILL-AND-OVER"),
        ("Café terrace", "cafe"),
        ("Cafe\u0301 terrace", "CAFÉ"),
        ("Straße", "STRASSE"),
        ("Rødby", "rodby"),
        ("½ inch", "1/2"),
        ("snake_case", "case"),
    ],
)
def test_what_people_see_finds_it(text: str, typed: str) -> None:
    assert words.hits(text, words.asked(typed))


@pytest.mark.parametrize(("text", "typed"), [("mill and overlay", "overlay-mill"), ("CURB", "urb"), ("A B", "a-c")])
def test_what_is_not_there_does_not(text: str, typed: str) -> None:
    assert not words.hits(text, words.asked(typed))


@settings(deadline=None)
@given(st.text(max_size=60))
@example("& | ! <-> :* ( ) ' \\ %s \x00")
@example("ﷺ ½ ﬁ İ ǅ")
def test_a_query_is_words_whatever_was_typed(text: str) -> None:
    for chunk in words.asked(text):
        for word in chunk:
            assert word.isalnum()
            assert 0 < len(word) <= words.WORD_CHARACTERS_MAX


@settings(deadline=None)
@given(st.text(max_size=80))
def test_a_text_finds_itself(text: str) -> None:
    wanted = words.asked(text)
    found = words.hits(text, wanted)
    assert [text[start:end] for start, end in found if not any(map(str.isalnum, text[start:end]))] == []
    assert bool(found) == bool(wanted)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    assert words.asked(unicodedata.normalize("NFD", text)) == words.asked(unicodedata.normalize("NFC", text))


TEXTS = st.text(st.sampled_from("aAbÉe\u0301 .-/'1½ß日ﷺ\n"), max_size=40) | st.text(max_size=40)


@settings(deadline=None)
@given(texts=st.lists(st.tuples(st.sampled_from(["A", "B", "C", ""]), TEXTS), max_size=4))
def test_the_database_keeps_words_as_they_were_written(
    texts: list[tuple[str, str]], connection: psycopg.Connection
) -> None:
    assert kept(connection, written := words.document("x", texts)) == written


def test_more_words_than_the_database_has_places_for(connection: psycopg.Connection) -> None:
    written = words.document("x", [("", "a " * 300), ("A", "b " * 17_000 + "c")])
    assert kept(connection, written) == written
    assert written.endswith(f" xc:{words.PLACE_MAX}A")


def kept(connection: psycopg.Connection, written: str) -> str:
    """A tsvector as it comes back from the database."""
    row = connection.cursor(binary=True).execute("select %s::text::tsvector", [written]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture(scope="module")
def connection(servers: Servers) -> Iterator[psycopg.Connection]:
    """Any database will do."""
    with psycopg.connect(servers.database_url, autocommit=True) as opened:
        yield opened
