"""What a record of plan, forecast and actual says: the values that events carry, and changes of them."""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from domain.pfa import PFA_FIELDS
from domain.subset import Change

PfaValue: TypeAlias = str | Decimal | date | bool | None
"""A value of a PFA field; None where there is none. Why there is none stands apart, in `absent`."""
OtherValue: TypeAlias = str | int | bool | None
"""A value of a field that is only kept: decimals and days as the text they are stored as."""


class PfaValues(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Every PFA field of a record; None: the upstream has no value, or the mapping no column for it."""

    category: str | None = None
    source: str | None = None
    record_class: str | None = None
    area: str | None = None
    description: str | None = None
    plan_cost: Decimal | None = None
    plan_start: date | None = None
    plan_end: date | None = None
    forecast_cost: Decimal | None = None
    forecast_start: date | None = None
    forecast_end: date | None = None
    actual_cost: Decimal | None = None
    actual_start: date | None = None
    actual_end: date | None = None
    monthly_rate: Decimal | None = None
    purchase_price: Decimal | None = None
    is_actualised: bool | None = None
    is_discontinued: bool | None = None


class PfaChange(Change, frozen=True):
    """Some PFA fields before or after a change."""

    category: str | UnsetType | None = UNSET
    source: str | UnsetType | None = UNSET
    record_class: str | UnsetType | None = UNSET
    area: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    plan_cost: Decimal | UnsetType | None = UNSET
    plan_start: date | UnsetType | None = UNSET
    plan_end: date | UnsetType | None = UNSET
    forecast_cost: Decimal | UnsetType | None = UNSET
    forecast_start: date | UnsetType | None = UNSET
    forecast_end: date | UnsetType | None = UNSET
    actual_cost: Decimal | UnsetType | None = UNSET
    actual_start: date | UnsetType | None = UNSET
    actual_end: date | UnsetType | None = UNSET
    monthly_rate: Decimal | UnsetType | None = UNSET
    purchase_price: Decimal | UnsetType | None = UNSET
    is_actualised: bool | UnsetType | None = UNSET
    is_discontinued: bool | UnsetType | None = UNSET


class DraftValues(Change, frozen=True):
    """Some editable PFA fields: what somebody drafted, or what stood there."""

    category: str | UnsetType | None = UNSET
    source: str | UnsetType | None = UNSET
    record_class: str | UnsetType | None = UNSET
    area: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    forecast_cost: Decimal | UnsetType | None = UNSET
    forecast_start: date | UnsetType | None = UNSET
    forecast_end: date | UnsetType | None = UNSET
    monthly_rate: Decimal | UnsetType | None = UNSET
    purchase_price: Decimal | UnsetType | None = UNSET
    is_discontinued: bool | UnsetType | None = UNSET


EDITABLE: Final = DraftValues.__struct_fields__
"""The fields that may be drafted."""
assert set(EDITABLE) == {name for name, field in PFA_FIELDS.items() if field.editable}
assert PfaValues.__struct_fields__ == PfaChange.__struct_fields__ == tuple(PFA_FIELDS)


class MirroredRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A record as its upstream has it.

    `identity` are the cells of the identifying columns, `ordinal` tells rows apart that are alike in them; `digest` is
    that of all mapped values (the first 16 bytes of `typed_rows.digest`, as hex); `others` are the mapped fields that
    feed no PFA field, and `absent` says, of either, why there is no value, unless the cell is just blank.
    """

    record_id: UUID
    identity: tuple[str, ...]
    ordinal: int = 1
    upstream_version: str | None = None
    digest: str
    values: PfaValues
    others: dict[str, OtherValue] = {}
    absent: dict[str, str] = {}


class RecordChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changed of a record, with the values before. `others` and `absent` are whole, as they are now, if given."""

    record_id: UUID
    upstream_version: str | None = None
    digest: str
    was: PfaChange
    now: PfaChange
    others: dict[str, OtherValue] | UnsetType = UNSET
    absent: dict[str, str] | UnsetType = UNSET


class RecordVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A record whose upstream version moved, and nothing that is mapped."""

    record_id: UUID
    upstream_version: str | None = None


class MirrorChanges(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Changes of a mirror, each record at most once. `returned` are records that had been removed."""

    inserted: tuple[MirroredRecord, ...] = ()
    updated: tuple[RecordChange, ...] = ()
    returned: tuple[MirroredRecord, ...] = ()
    removed: tuple[UUID, ...] = ()
    versions: tuple[RecordVersion, ...] = ()

    def __len__(self) -> int:
        return len(self.inserted) + len(self.updated) + len(self.returned) + len(self.removed) + len(self.versions)

    def record_ids(self) -> Iterator[UUID]:
        """The records that changed."""
        yield from self.removed
        yield from (each.record_id for part in (self.inserted, self.updated, self.returned) for each in part)
        yield from (each.record_id for each in self.versions)


def after(values: PfaValues, change: PfaChange | DraftValues) -> PfaValues:
    """The values with a change put in."""
    given = change.given()
    return msgspec.structs.replace(values, **given) if given else values


def differing(values: PfaValues, wanted: Mapping[str, PfaValue]) -> Iterator[str]:
    """The names of those wanted values that the record does not have."""
    return (name for name, value in wanted.items() if getattr(values, name) != value)
