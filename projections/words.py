"""Text → the words it is found by: folded, cut, and written as the database's text search takes them. Pure.

A word is a run of letters and digits, without accents and in one letter case. A chunk is what stands between white
space: of several words (`C.Y.`, `2104504/00120`, `4'-0"`) it is found by its words in their order, and by all of them
joined (`cy`, `210450400120`), so that `C.Y.` finds `CY` and the other way round.

What a word folds to comes from `unicodedata`: a release of Python with another Unicode needs a new version of the
model.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple

WORD_CHARACTERS_MAX: Final = 60
"""Longer words are found by so many characters of their beginning."""

PLACE_MAX: Final = 16_383
PLACES_MAX: Final = 250
"""PostgreSQL keeps no later places, and no more of one word. Phrases are found up to there, words anywhere."""

_CHUNK: Final = re.compile(r"\S+")
_PLAIN: Final = re.compile(r"[0-9A-Za-z]+")
_STROKES: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "þ": "th", "æ": "ae", "œ": "oe"}
)
"""Letters that people type without their stroke, and which Unicode does not take apart."""

Asked = tuple[tuple[str, ...], ...]
"""What somebody looks for: chunks, each of its folded words."""


class Word(NamedTuple):
    """A word and where it stands in the text."""

    start: int
    end: int
    folded: str


@lru_cache(maxsize=65_536)
def folded(word: str) -> str:
    """The word without accents, in one letter case, of letters and digits only."""
    if word.isascii() and word.isalnum():
        return word.lower()[:WORD_CHARACTERS_MAX]
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold()).translate(_STROKES)
    return "".join(filter(str.isalnum, apart))[:WORD_CHARACTERS_MAX]


def chunks(text: str) -> Iterator[list[Word]]:
    """The words of a text, by chunk. Chunks without a word are left out."""
    plain = text.isascii()
    for chunk in _CHUNK.finditer(text):
        ranges = _plain(text, *chunk.span()) if plain else _ranges(text, *chunk.span())
        words = [Word(start, end, word) for start, end in ranges if (word := folded(text[start:end]))]
        if words:
            yield words


def _plain(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (found.span() for found in _PLAIN.finditer(text, start, end))


def _ranges(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of letters, digits and the marks on them."""
    for belongs, run in groupby(range(start, end), lambda at: text[at].isalnum() or _is_mark(text[at])):
        if belongs:
            places = list(run)
            yield places[0], places[-1] + 1


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def joined(words: Iterable[str]) -> str:
    """The words of a chunk as one."""
    return "".join(words)[:WORD_CHARACTERS_MAX]


def document(shelf: str, fields: Iterable[tuple[str, str]]) -> str:
    """Texts, each with its weight (A to C, or nothing), as a tsvector in the form PostgreSQL keeps it in: words in
    order, each with its first places. Every word begins with `shelf`.
    """
    places: dict[str, list[str]] = {}
    place = 0
    for weight, text in fields:
        place += 1  # no phrase goes from one text to the next
        for chunk in chunks(text):
            if len(chunk) > 1:
                _put(places, joined(word.folded for word in chunk), place + 1, weight)
            for word in chunk:
                place += 1
                _put(places, word.folded, place, weight)
    return " ".join(f"{shelf}{word}:{','.join(places[word])}" for word in sorted(places, key=str.encode))


def _put(places: dict[str, list[str]], word: str, place: int, weight: str) -> None:
    here = places.setdefault(word, [])
    if (place <= PLACE_MAX and len(here) < PLACES_MAX) or not here:
        entry = f"{min(place, PLACE_MAX)}{weight}"
        if not here or here[-1] != entry:
            here.append(entry)


def asked(text: str) -> Asked:
    """What a person typed. Operators and quotes are no words, so they mean nothing."""
    return tuple(dict.fromkeys(tuple(word.folded for word in chunk) for chunk in chunks(text)))


def matching(wanted: Asked, shelf: str) -> str:
    """The tsquery that finds documents of a shelf with all chunks, each a prefix."""
    return " & ".join(_matching(chunk, shelf) for chunk in wanted)


def _matching(chunk: tuple[str, ...], shelf: str) -> str:
    if len(chunk) == 1:
        return f"{shelf}{chunk[0]}:*"
    phrase = " <-> ".join(f"{shelf}{word}" for word in chunk)
    return f"({shelf}{joined(chunk)}:* | {phrase}:*)"


def exact(wanted: Asked, shelf: str) -> str:
    """The tsquery of the same words as they are, any of them: what stands there as it was typed ranks higher."""
    whole = dict.fromkeys(word for chunk in wanted for word in (*chunk, joined(chunk)))
    return " | ".join(shelf + word for word in whole)


def hits(text: str, wanted: Asked) -> list[tuple[int, int]]:
    """The ranges of a text that are what was looked for, in order and apart."""
    found: list[tuple[int, int]] = []
    words: list[Word] = []
    for chunk in chunks(text):
        words += chunk
        whole = joined(word.folded for word in chunk)
        if any(whole.startswith(joined(each)) for each in wanted):
            found.append((chunk[0].start, chunk[-1].end))
    for each in wanted:
        found += _phrases(words, each)
    return _merged(sorted(found))


def _phrases(words: Sequence[Word], wanted: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    *before, last = wanted
    for at in range(len(words) - len(before)):
        here = words[at : at + len(wanted)]
        if here[-1].folded.startswith(last) and [word.folded for word in here[:-1]] == before:
            yield here[0].start, here[-1].end


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    apart: list[tuple[int, int]] = []
    for start, end in ranges:
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart
