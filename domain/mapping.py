"""What the columns of an upstream mean here: a company's field mapping as data, with every fault of one at its path."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Final, Self

import msgspec
import pydantic
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from domain.faults import Fault, refuse
from domain.money import CURRENCIES
from domain.pfa import PFA_FIELDS, FieldType
from domain.text import Name, NotEmpty, Sentence
from domain.units import CANONICAL, canonical

FIELDS_LIMIT: Final = 200
WORDS_LIMIT: Final = 100
OWN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
BUILT_IN_REASONS: Final = frozenset({"blank", "unreadable", "unmapped"})
"""Why a value is absent, where no word of the mapping says why."""
TRUE_WORDS: Final = ("true", "yes", "y", "1")
FALSE_WORDS: Final = ("false", "no", "n", "0")


class DateOrder(StrEnum):
    """How an upstream writes days. A year in front is read under each of them."""

    ISO = "iso"
    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"


class DecimalSign(StrEnum):
    """What stands before the decimals. The other sign, blanks and apostrophes may stand between thousands."""

    POINT = "point"
    COMMA = "comma"


class MissingWord(msgspec.Struct, frozen=True, kw_only=True):
    """A word in place of a value, and what it stands for: the value is absent for that reason, never zero."""

    word: str
    reason: str


class MappedField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column: where it is from, what it is called here, how it is read. `unit` of money is its currency."""

    upstream: str
    name: str
    type: FieldType
    feeds: str | None = None
    unit: str | None = None
    missing: tuple[MissingWord, ...] = ()
    date_order: DateOrder | None = None
    decimal_sign: DecimalSign | None = None
    true_words: tuple[str, ...] = TRUE_WORDS
    false_words: tuple[str, ...] = FALSE_WORDS


class FieldMapping(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of it, under the number its owner gave. `missing` holds for every field that is neither text nor category."""

    version: int
    fields: tuple[MappedField, ...]
    identity: tuple[str, ...]
    missing: tuple[MissingWord, ...] = ()
    version_column: str | None = None
    omitted_means_blank: bool = False

    def columns(self) -> frozenset[str]:
        """Upstream names that it reads."""
        own = {field.upstream for field in self.fields} | set(self.identity)
        return frozenset(own | ({self.version_column} if self.version_column else set()))

    def required_columns(self) -> frozenset[str]:
        """Upstream names without which the upstream has changed its schema."""
        return frozenset(self.identity) if self.omitted_means_blank else self.columns()


def _vocabulary(kind: type[StrEnum]) -> JsonDict:
    return {"enum": [word.value for word in kind]}


def _own_name(text: str) -> str:
    if not OWN_NAME.fullmatch(text):
        raise PydanticCustomError(
            "field_name", "A field's name is up to 60 small letters, digits and underscores, with a letter in front"
        )
    return text


def _trimmed(text: str) -> str:
    return text.strip()


def column_name(text: str) -> str:
    """Blanks around a name do not count, and several within it are one: exports and their readers differ there."""
    return " ".join(text.split())


UpstreamName = Annotated[Name, AfterValidator(column_name)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_trimmed)]


class _Input(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class MissingWordInput(_Input):
    """A word in place of a value, as it is sent."""

    word: Word = Field(description="As the upstream writes it; letter case is of no account.", examples=["DOER"])
    reason: Sentence = Field(description="What it stands for.", examples=["not published: run by another unit"])


MissingWords = Annotated[tuple[MissingWordInput, ...], Field(max_length=WORDS_LIMIT)]


class MappedFieldInput(_Input):
    """One column as it is sent. Vocabularies are judged with the whole mapping, so that all faults come at once."""

    upstream: UpstreamName = Field(description="The column's name there.", examples=["Project Budget Amount"])
    name: Annotated[str, AfterValidator(_own_name)] = Field(description="Its name here.", examples=["budget"])
    type: str = Field(description="What its values are.", examples=["money"], json_schema_extra=_vocabulary(FieldType))
    feeds: str | None = Field(
        default=None,
        description="The PFA field that it is; null for a field that is only kept.",
        examples=["plan_cost"],
        json_schema_extra={"enum": [*PFA_FIELDS, None]},
    )
    unit: str | None = Field(
        default=None, description="The currency of money; the unit of a quantity.", examples=["USD"]
    )
    missing: MissingWords = Field(default=(), description="Words in place of a value, in this column.")
    date_order: str | None = Field(
        default=None,
        description="How days are written; null: year first, and anything else is a fault.",
        examples=["month-first"],
        json_schema_extra={"enum": [*DateOrder, None]},
    )
    decimal_sign: str | None = Field(
        default=None,
        description="What stands before decimals; null: a number that reads differently with each is a fault.",
        examples=["point"],
        json_schema_extra={"enum": [*DecimalSign, None]},
    )
    true_words: Annotated[tuple[Word, ...], Field(max_length=WORDS_LIMIT)] = Field(
        default=(), description="Words for true; with `false_words` instead of the usual ones.", examples=[["Complete"]]
    )
    false_words: Annotated[tuple[Word, ...], Field(max_length=WORDS_LIMIT)] = Field(
        default=(), description="Words for false.", examples=[["PNS", "In-Progress"]]
    )

    def as_field(self) -> MappedField:
        """The value; call it on one without faults."""
        kind = FieldType(self.type)
        quantity = kind in {FieldType.INTEGER, FieldType.DECIMAL} and self.unit is not None
        return MappedField(
            upstream=self.upstream,
            name=self.name,
            type=kind,
            feeds=self.feeds,
            unit=canonical(self.unit) if quantity and self.unit is not None else self.unit,
            missing=_words(self.missing),
            date_order=None if self.date_order is None else DateOrder(self.date_order),
            decimal_sign=None if self.decimal_sign is None else DecimalSign(self.decimal_sign),
            true_words=self.true_words or TRUE_WORDS,
            false_words=self.false_words or FALSE_WORDS,
        )


class MappingInput(_Input):
    """A field mapping as it is sent. The owner gives it its version."""

    fields: Annotated[tuple[MappedFieldInput, ...], Field(max_length=FIELDS_LIMIT), NotEmpty()] = Field(
        description="Each column that is kept. One column may become two fields; two never become one."
    )
    identity: Annotated[tuple[UpstreamName, ...], Field(max_length=20), NotEmpty()] = Field(
        description="The columns that say which record a row is; rows alike in all of them are numbered in file order.",
        examples=[["Project Building Identifier", "DSF Number(s)"]],
    )
    missing: MissingWords = Field(default=(), description="Words in place of a value, in all but text and categories.")
    version_column: UpstreamName | None = Field(
        default=None, description="The column of the upstream's own version of a record.", examples=["version"]
    )
    omitted_means_blank: bool = Field(
        default=False, description="Whether a row may leave columns out. Else that is a fault of the row."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        refuse(self, [*_faults(self)])
        return self

    def as_mapping(self, version: int) -> FieldMapping:
        """The value, under the owner's number for it."""
        return FieldMapping(
            version=version,
            fields=tuple(field.as_field() for field in self.fields),
            identity=self.identity,
            missing=_words(self.missing),
            version_column=self.version_column,
            omitted_means_blank=self.omitted_means_blank,
        )


def _words(sent: Iterable[MissingWordInput]) -> tuple[MissingWord, ...]:
    return tuple(MissingWord(word=each.word, reason=each.reason) for each in sent)


def _faults(sent: MappingInput) -> Iterator[Fault]:
    for index, field in enumerate(sent.fields):
        for fault in _faults_of_field(field):
            yield fault._replace(path=("fields", index, *fault.path))
    yield from _repeated([(("fields", index, "name"), field.name) for index, field in enumerate(sent.fields)])
    feeding = [(("fields", index, "feeds"), field.feeds) for index, field in enumerate(sent.fields) if field.feeds]
    yield from _repeated(feeding)
    yield from _repeated([(("identity", index), column) for index, column in enumerate(sent.identity)])
    yield from _repeated_words(("missing",), sent.missing)


def _repeated(named: Iterable[tuple[tuple[str | int, ...], str]]) -> Iterator[Fault]:
    first: dict[str, tuple[str | int, ...]] = {}
    for path, name in named:
        if name in first:
            where = "/".join(map(str, first[name]))
            yield Fault(path, "mapped_twice", f"{name} is given at {where} already; one field has one column")
        first.setdefault(name, path)


def _repeated_words(path: tuple[str | int, ...], words: Iterable[MissingWordInput]) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for index, each in enumerate(words):
        if seen.setdefault(each.word.casefold(), each.reason) != each.reason:
            yield Fault((*path, index, "reason"), "word_twice", f"{each.word} has another reason further up")
        if each.reason in BUILT_IN_REASONS:
            yield Fault((*path, index, "reason"), "reason_taken", f"{each.reason} is said of values without a word")


def _faults_of_field(field: MappedFieldInput) -> Iterator[Fault]:
    yield from _not_in(("type",), field.type, [*FieldType], "type")
    yield from _not_in(("feeds",), field.feeds, [*PFA_FIELDS], "PFA field")
    yield from _not_in(("date_order",), field.date_order, [*DateOrder], "order of dates")
    yield from _not_in(("decimal_sign",), field.decimal_sign, [*DecimalSign], "decimal sign")
    yield from _repeated_words(("missing",), field.missing)
    if field.name in PFA_FIELDS and field.feeds != field.name:
        yield Fault(("name",), "name_taken", f"{field.name} is the name of a PFA field, which this does not feed")
    fed = PFA_FIELDS.get(field.feeds or "")
    if fed and field.type in [*FieldType] and field.type != fed.type:
        yield Fault(("type",), "type_mismatch", f"{field.feeds} is {fed.type}, not {field.type}")
    yield from _out_of_place(field)
    yield from _faults_of_unit(field)


def _not_in(path: tuple[str], given: str | None, known: list[str], what: str) -> Iterator[Fault]:
    if given is not None and given not in known:
        near = get_close_matches(given, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        yield Fault(path, f"{path[0]}_unknown", f"{given!r} is no {what}{hint}")


def _out_of_place(field: MappedFieldInput) -> Iterator[Fault]:
    """What only fields of another type have."""
    numbers = {FieldType.INTEGER, FieldType.DECIMAL, FieldType.MONEY}
    for name, kinds in [
        ("date_order", {FieldType.DATE}),
        ("decimal_sign", numbers),
        ("unit", numbers),
        ("true_words", {FieldType.BOOLEAN}),
        ("false_words", {FieldType.BOOLEAN}),
    ]:
        if getattr(field, name) and field.type in [*FieldType] and field.type not in kinds:
            yield Fault((name,), "out_of_place", f"A field of type {field.type} has no {name}")
    if bool(field.true_words) != bool(field.false_words):
        missing = "false_words" if field.true_words else "true_words"
        yield Fault((missing,), "words_missing", "Give words for true and for false, or none for the usual ones")
    both = {word.casefold() for word in field.true_words} & {word.casefold() for word in field.false_words}
    if both:
        yield Fault(("false_words",), "words_contradict", f"{sorted(both)[0]} cannot be true and false")


def _faults_of_unit(field: MappedFieldInput) -> Iterator[Fault]:
    if field.type == FieldType.MONEY:
        if field.unit is None:
            yield Fault(("unit",), "currency_missing", "Money needs its currency: amounts of two are never added")
        elif field.unit not in CURRENCIES:
            yield Fault(("unit",), "currency_unknown", f"{field.unit!r} is no ISO 4217 code of two decimal places")
    elif field.unit is not None and field.type in {FieldType.INTEGER, FieldType.DECIMAL} and not _known(field.unit):
        yield Fault(("unit",), "unit_unknown", f"{field.unit!r} is not a unit of the controlled list")


def _known(unit: str) -> bool:
    if unit in CANONICAL:
        return True
    try:
        canonical(unit)
    except PydanticCustomError:
        return False
    return True
