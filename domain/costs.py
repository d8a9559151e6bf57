"""Actual costs: entries booked under codes or against mark-ups, their sums, and the rows a variance is told of."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal, Self, TypeAlias
from uuid import UUID

import msgspec
import pydantic
from msgspec import UNSET, UnsetType
from pydantic import Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain.lines import Code, CostType
from domain.money import EXACT, ZERO, Amount, Currency, Quantity
from domain.subset import Change
from domain.text import Note
from domain.units import Unit

ENTRIES_LIMIT: Final = 10_000
_SEPARATOR: Final = "\x1f"
"""No label may contain it."""

Told: TypeAlias = Annotated[Note, StringConstraints(min_length=1)]
"""Several lines, and something in them."""


def code_key(code_set: str | None, code_edition: str | None, code: str | None) -> str:
    """One text per cost code: keys sort by set, edition and code. What has no code has a key too."""
    return _SEPARATOR.join((code_set or "", code_edition or "", code or ""))


def code_of(key: str) -> tuple[str | None, str | None, str | None]:
    """The set, edition and code of a `code_key`."""
    code_set, code_edition, code = key.split(_SEPARATOR)
    return code_set or None, code_edition or None, code or None


class Booked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cost entry adds, and to what."""

    amount: Decimal
    code: str | None = None
    code_set: str | None = None
    code_edition: str | None = None
    cost_type: CostType = "other"
    quantity: Decimal | None = None
    unit: str | None = None
    markup_id: UUID | None = None


class EntryInput(pydantic.BaseModel):
    """An actual cost as it is sent. The id is the sender's: an invoice line sent twice is booked once."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    entry_id: UUID = Field(description="Names the entry.", examples=["0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"])
    code: Code = Field(default=None, description="Cost code it is booked under.", examples=["2104504/00120"])
    code_set: Code = Field(default=None, description="The set the code is from.", examples=["MnDOT"])
    code_edition: Code = Field(default=None, description="The edition of that set.", examples=["2020"])
    cost_type: CostType = Field(default="other", description="What kind of money.", examples=["subcontract"])
    quantity: Quantity | None = Field(
        default=None, description="How much was done for it; null where nothing was measured.", examples=["4401.5"]
    )
    unit: Unit | None = Field(default=None, description="Unit of the quantity; null without one.", examples=["SY"])
    amount: Amount = Field(description="What it cost; negative for a credit.", examples=["25914.20"])
    booked_on: date = Field(description="The day it was booked.", examples=["2022-08-31"])
    note: Note | None = Field(default=None, description="Voucher or remark.", examples=["Invoice 7731"])
    currency: Currency | None = Field(
        default=None, description="If given, must be the project's actuals': nothing is converted.", examples=["USD"]
    )
    markup_id: UUID | None = Field(
        default=None,
        description="The mark-up of the baseline that was to pay for it, instead of a code; kept as sent, and a row of "
        "its own in the variance where the baseline has no such mark-up.",
        examples=[None],
    )

    @pydantic.model_validator(mode="after")
    def _measured_in_something(self) -> Self:
        if (self.quantity is None) != (self.unit is None):
            raise PydanticCustomError("quantity_and_unit", "A quantity has a unit, and a unit a quantity: send both")
        return self

    @pydantic.model_validator(mode="after")
    def _counts_in_one_row(self) -> Self:
        if self.markup_id is not None and (self.code or self.code_set or self.code_edition):
            raise PydanticCustomError(
                "entry_markup", "An entry with a markup_id has no code, code_set or code_edition: send one or the other"
            )
        return self


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A cost entry as it stands. `quantity` and `unit` are both there or both None. With a `markup_id`, no code."""

    entry_id: UUID
    amount: Decimal
    booked_on: date
    code: str | None = None
    code_set: str | None = None
    code_edition: str | None = None
    cost_type: CostType = "other"
    quantity: Decimal | None = None
    unit: str | None = None
    note: str | None = None
    markup_id: UUID | None = None


class EntryChange(Change, frozen=True):
    """Fields of a cost entry before or after a correction."""

    amount: Decimal | UnsetType = UNSET
    booked_on: date | UnsetType = UNSET
    code: str | UnsetType | None = UNSET
    code_set: str | UnsetType | None = UNSET
    code_edition: str | UnsetType | None = UNSET
    cost_type: CostType | UnsetType = UNSET
    quantity: Decimal | UnsetType | None = UNSET
    unit: str | UnsetType | None = UNSET
    note: str | UnsetType | None = UNSET
    markup_id: UUID | UnsetType | None = UNSET


def entry_from(sent: EntryInput) -> Entry:
    """The entry that was sent."""
    return Entry(
        entry_id=sent.entry_id,
        amount=sent.amount,
        booked_on=sent.booked_on,
        code=sent.code,
        code_set=sent.code_set,
        code_edition=sent.code_edition,
        cost_type=sent.cost_type,
        quantity=sent.quantity,
        unit=sent.unit,
        note=sent.note,
        markup_id=sent.markup_id,
    )


def booked(entry: Entry) -> Booked:
    """The entry's part in the sums."""
    return Booked(
        amount=entry.amount,
        code=entry.code,
        code_set=entry.code_set,
        code_edition=entry.code_edition,
        cost_type=entry.cost_type,
        quantity=entry.quantity,
        unit=entry.unit,
        markup_id=entry.markup_id,
    )


class OccurredRisk(msgspec.Struct, frozen=True, kw_only=True):
    """What a risk that came true cost, as it is known now."""

    estimate_id: UUID
    cost: Decimal
    occurred_on: date
    note: str | None = None


class OccurrenceChange(Change, frozen=True):
    """Fields of what is known of a risk that came true, before or after a correction."""

    cost: Decimal | UnsetType = UNSET
    occurred_on: date | UnsetType = UNSET
    note: str | UnsetType | None = UNSET


def dearer(was: OccurrenceChange, now: OccurrenceChange) -> Decimal:
    """What a correction adds to the cost of a risk."""
    if was.cost is UNSET or now.cost is UNSET:
        return ZERO
    return EXACT.subtract(now.cost, was.cost)


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """Of the entries of one code or mark-up, measured in one unit, or not at all: those add to the amount alone."""

    amount: Decimal = ZERO
    quantity: Decimal = Decimal(0)
    entries: int = 0


SumKey: TypeAlias = tuple[str, str]
"""The `scope_key` of the code or mark-up, and the unit; "" for none."""


def sum_key(part: Booked) -> SumKey:
    """Which sum a part counts in."""
    if part.markup_id is not None:
        return scope_key(Scope(kind="markup", markup_id=part.markup_id)), part.unit or ""
    return code_key(part.code_set, part.code_edition, part.code), part.unit or ""


def sums_of(parts: Iterable[Booked]) -> dict[SumKey, Sum]:
    """The parts added up."""
    found: dict[SumKey, Sum] = {}
    for part in parts:
        key = sum_key(part)
        found[key] = plus(found.get(key, Sum()), part)
    return found


def plus(total: Sum, part: Booked) -> Sum:
    """With a part added."""
    return joined(total, Sum(amount=part.amount, quantity=part.quantity or Decimal(0), entries=1))


def joined(one: Sum, other: Sum) -> Sum:
    """Two sums in one. Exact, so the order of adding does not matter."""
    return Sum(
        amount=EXACT.add(one.amount, other.amount),
        quantity=EXACT.add(one.quantity, other.quantity),
        entries=one.entries + other.entries,
    )


def negative(total: Sum) -> Sum:
    """What takes this sum out of another."""
    return Sum(amount=-total.amount, quantity=-total.quantity, entries=-total.entries)


def moved(was: Booked, now: Booked) -> Mapping[SumKey, Sum]:
    """What a correction adds to which sum; of a code or unit it leaves, a negative sum."""
    changed = {sum_key(was): negative(plus(Sum(), was))}
    changed[sum_key(now)] = plus(changed.get(sum_key(now), Sum()), now)
    return changed


class ScopeInput(pydantic.BaseModel):
    """A row of the variance as it is sent: a cost code (all three null: what has no code), the risks, or a mark-up."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["code", "risk", "markup"] = Field(default="code", description="What kind of row.", examples=["code"])
    code: Code = Field(default=None, description="Cost code.", examples=["2104504/00120"])
    code_set: Code = Field(default=None, description="The set the code is from.", examples=["MnDOT"])
    code_edition: Code = Field(default=None, description="The edition of that set.", examples=["2020"])
    markup_id: UUID | None = Field(default=None, description="Which mark-up, where the row is one.", examples=[None])

    @pydantic.model_validator(mode="after")
    def _names_one_row(self) -> Self:
        if (self.markup_id is not None) != (self.kind == "markup"):
            raise PydanticCustomError("scope_markup", "A row of kind markup has a markup_id, and no other has one")
        if self.kind != "code" and (self.code or self.code_set or self.code_edition):
            raise PydanticCustomError("scope_code", "Only a row of kind code has a code, code_set or code_edition")
        return self


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the variance."""

    kind: Literal["code", "risk", "markup"] = "code"
    code: str | None = None
    code_set: str | None = None
    code_edition: str | None = None
    markup_id: UUID | None = None


class CodeInput(pydantic.BaseModel):
    """A cost code as it is sent."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    code: Code = Field(default=None, description="Cost code.", examples=["2104504/00120"])
    code_set: Code = Field(default=None, description="The set the code is from.", examples=["MnDOT"])
    code_edition: Code = Field(default=None, description="The edition of that set.", examples=["2020"])


def scope_from(sent: ScopeInput | CodeInput | None) -> Scope | None:
    """The row that was sent; None is the whole project."""
    return None if sent is None else Scope(**sent.model_dump())


def scope_key(scope: Scope | None) -> str:
    """One text per row: "" for the whole project, `code_key` for a code. No two rows share one."""
    if scope is None:
        return ""
    if scope.kind == "code":
        return code_key(scope.code_set, scope.code_edition, scope.code)
    return scope.kind if scope.markup_id is None else f"{scope.kind}{_SEPARATOR}{scope.markup_id}"


def code_or_markup(key: str) -> tuple[str | None, str | None, str | None, UUID | None]:
    """Code, set and edition of a `scope_key`, or else its mark-up."""
    if key.count(_SEPARATOR) == 1:
        return None, None, None, UUID(key.partition(_SEPARATOR)[2])
    code_set, code_edition, code = code_of(key)
    return code, code_set, code_edition, None


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people say of a variance: what happened, why, and who sees to it."""

    narrative: str
    cause: str | None = None
    owner: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something found on the way: an issue, or a lesson for the next bid; of a cost code, or of the whole."""

    finding_id: UUID
    kind: Literal["issue", "lesson"]
    text: str
    code: str | None = None
    code_set: str | None = None
    code_edition: str | None = None


class FindingChange(Change, frozen=True):
    """Fields of a finding before or after a revision."""

    kind: Literal["issue", "lesson"] | UnsetType = UNSET
    text: str | UnsetType = UNSET
    code: str | UnsetType | None = UNSET
    code_set: str | UnsetType | None = UNSET
    code_edition: str | UnsetType | None = UNSET


def half_measured(entry: Entry) -> bool:
    """Whether it has a quantity without a unit, or a unit without a quantity."""
    return (entry.quantity is None) != (entry.unit is None)


def in_two_rows(entry: Entry) -> bool:
    """Whether it names both a mark-up and a code."""
    return entry.markup_id is not None and bool(entry.code or entry.code_set or entry.code_edition)
