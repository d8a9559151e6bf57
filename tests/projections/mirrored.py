"""Mirrors and drafts as a plain program keeps them, and the events that tell of them."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import asdict, replace

from domain.decider import Event, tag_of
from domain.drafts_events import (
    Draft,
    DraftedRecord,
    DraftsCleared,
    DraftsDiscarded,
    DraftsEvent,
    DraftsRestored,
    DraftsSaved,
    EndedDraft,
    RebasedDraft,
    drafts_of,
)
from domain.mirror_events import MirrorEvent, RecordsChanged, SyncBegan, SyncCounts, SyncFinished, mirror_of
from domain.pfa_values import (
    EDITABLE,
    DraftValues,
    MirrorChanges,
    MirroredRecord,
    PfaChange,
    PfaValues,
    RecordChange,
    RecordVersion,
)

CONNECTION = UUID(int=501)
USERS = (UUID(int=601), UUID(int=602))
RECORDS = tuple(UUID(int=701 + number) for number in range(9))
RUN = UUID(int=502)

_TEXTS = ("Crane", "Tower crane", "Grúa móvil", "Pump 12-A", None)
_VALUES: Mapping[str, tuple[Any, ...]] = {
    "category": ("Crane", "Pump", None),
    "source": ("Rental", "Purchase", None),
    "record_class": ("Open", "Done"),
    "area": ("North", "Süd", None),
    "description": _TEXTS,
    **dict.fromkeys(
        ("plan_cost", "forecast_cost", "actual_cost", "monthly_rate", "purchase_price"),
        (Decimal("0.00"), Decimal("12.50"), Decimal("99.99"), Decimal("-3.10"), None),
    ),
    **dict.fromkeys(
        ("plan_start", "plan_end", "forecast_start", "forecast_end", "actual_start", "actual_end"),
        (date(2026, 1, 31), date(2026, 2, 1), date(2027, 12, 31), None),
    ),
    "is_actualised": (True, False, None),
    "is_discontinued": (True, False, None),
}


@dataclass
class Mirrored:
    """A record as the upstream has it."""

    number: int
    values: PfaValues
    others: dict[str, Any]
    absent: dict[str, str]
    version: str
    removed: bool = False


@dataclass
class Drafted:
    """What a user drafted on a record: field → (base, now)."""

    fields: dict[str, tuple[Any, Any]]
    modified: int


@dataclass
class Company:
    """All that a company's events say of one connection."""

    records: dict[UUID, Mirrored] = field(default_factory=dict)
    drafts: dict[tuple[UUID, UUID], Drafted] = field(default_factory=dict)
    """By user and record."""
    synced: int = 0

    def merged(self, user: UUID, record_id: UUID) -> PfaValues:
        """What a user sees."""
        draft = self.drafts.get((user, record_id))
        now = {} if draft is None else {name: value for name, (_, value) in draft.fields.items()}
        return replace(self.records[record_id].values, **now)

    def behind(self, user: UUID, record_id: UUID) -> dict[str, tuple[Any, Any]]:
        """Field → base and theirs, of the drafted fields that the upstream moved."""
        draft = self.drafts.get((user, record_id))
        fields = {} if draft is None else draft.fields
        theirs = asdict(self.records[record_id].values)
        return {name: (base, theirs[name]) for name, (base, _) in fields.items() if theirs[name] != base}


class Story:
    """Events one after the other, by dice, and the company after each."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = Company()
        self.events: list[tuple[UUID, Event]] = []
        self.after: list[Company] = [Company()]
        """By position."""

    @property
    def position(self) -> int:
        return len(self.events) + 1

    def tell(self, count: int) -> None:
        """So many events more."""
        ways: Sequence[Callable[[], MirrorEvent | DraftsEvent | None]]
        ways = (self.sync, self.sync, self.sync, self.save, self.save, self.save, self.end, self.restore, self.synced)
        for _ in range(count):
            event = self.random.choice(ways)()
            if event is None:
                continue
            self.events.append((_stream_of(event), event))
            self.after.append(deepcopy(self.now))

    def values(self) -> PfaValues:
        dice = self.random
        return PfaValues(**{name: dice.choice(values) for name, values in _VALUES.items()})

    def synced(self) -> MirrorEvent:
        if self.random.random() < 0.5:
            return SyncBegan(
                connection_id=CONNECTION,
                run_id=RUN,
                mode="full",
                trigger="manual",
                mapping_version=1,
                began_at=datetime(2026, 11, 1, tzinfo=UTC),
            )
        self.now.synced += 1
        at = datetime(2026, 11, 1, self.now.synced % 24, tzinfo=UTC)
        return SyncFinished(connection_id=CONNECTION, run_id=RUN, counts=SyncCounts(), finished_at=at)

    def _mirrored(self, record_id: UUID, place: int) -> MirroredRecord:
        dice, known = self.random, self.now.records.get(record_id)
        absent = {name: dice.choice(("withheld", "not published: DOER")) for name in ("plan_cost", "qty")}
        values = self.values()
        kept = {name: why for name, why in absent.items() if name == "qty" or values.plan_cost is None}
        others: dict[str, Any] = {"unit": dice.choice(("MO", "EA")), "note": dice.choice(("", "x", "é"))}
        version = str(dice.randrange(9))
        number = self.position * 4_096 + place if known is None else known.number
        self.now.records[record_id] = Mirrored(number, values, others, kept, version)
        return MirroredRecord(
            record_id=record_id,
            identity=(f"R-{record_id.int}", "Straße 7"),
            upstream_version=version,
            digest=f"{dice.getrandbits(128):032x}",
            values=values,
            others=others,
            absent=kept,
        )

    def sync(self) -> MirrorEvent:
        dice, records = self.random, self.now.records
        inserted: list[MirroredRecord] = []
        returned: list[MirroredRecord] = []
        updated: list[RecordChange] = []
        removed: list[UUID] = []
        versions: list[RecordVersion] = []
        touched = dice.sample(RECORDS, dice.randint(1, 4))
        for record_id in touched:
            if record_id not in records:
                inserted.append(self._mirrored(record_id, len(inserted)))
        for record_id in touched:
            known = records[record_id]
            if record_id in {each.record_id for each in inserted}:
                continue
            if known.removed:
                returned.append(self._mirrored(record_id, 0))
            elif dice.random() < 0.2:
                known.removed = True
                removed.append(record_id)
            elif dice.random() < 0.1:
                known.version = "moved"
                versions.append(RecordVersion(record_id=record_id, upstream_version="moved"))
            else:
                updated.append(self._update(record_id, known))
        return RecordsChanged(
            connection_id=CONNECTION,
            run_id=RUN,
            mapping_version=1,
            currency="USD",
            processed=len(touched),
            changes=MirrorChanges(
                inserted=tuple(inserted),
                updated=tuple(updated),
                returned=tuple(returned),
                removed=tuple(removed),
                versions=tuple(versions),
            ),
        )

    def insert(self, record_id: UUID, description: str) -> None:
        """A record of nothing but a description, told of by itself."""
        values = PfaValues(description=description)
        record = MirroredRecord(record_id=record_id, identity=(f"{record_id.int}",), digest="0" * 32, values=values)
        self.now.records[record_id] = Mirrored(self.position * 4_096, values, {}, {}, "")
        changes = MirrorChanges(inserted=(record,))
        event = RecordsChanged(connection_id=CONNECTION, run_id=RUN, mapping_version=1, changes=changes)
        self.events.append((mirror_of(CONNECTION), event))
        self.after.append(deepcopy(self.now))

    def _update(self, record_id: UUID, known: Mirrored) -> RecordChange:
        wanted, before = asdict(self.values()), asdict(known.values)
        names = self.random.sample(list(wanted), self.random.randint(1, 5))
        now = {name: wanted[name] for name in names if wanted[name] != before[name]}
        known.values, known.version = replace(known.values, **now), "again"
        known.others = {"unit": "MO", "colour": "red"}
        return RecordChange(
            record_id=record_id,
            upstream_version="again",
            digest=f"{self.random.getrandbits(128):032x}",
            was=PfaChange(**{name: before[name] for name in now}),
            now=PfaChange(**now),
            others=known.others,
        )

    def save(self) -> DraftsEvent | None:
        dice, user = self.random, self.random.choice(USERS)
        there = [record_id for record_id, each in self.now.records.items() if not each.removed]
        made: list[DraftedRecord] = []
        for record_id in dice.sample(there, min(len(there), dice.randint(1, 3))):
            theirs, wanted = asdict(self.now.records[record_id].values), asdict(self.values())
            draft = self.now.drafts.get((user, record_id)) or Drafted({}, 0)
            before = dict(draft.fields)
            fields = dice.sample(EDITABLE, dice.randint(1, 3))
            moved = {name: wanted[name] for name in fields if wanted[name] != theirs[name]}
            dropped = tuple(name for name in fields if name not in moved and name in before)
            if not moved and not dropped:
                continue
            draft.fields |= {
                name: (before[name][0] if name in before else theirs[name], now) for name, now in moved.items()
            }
            for name in dropped:
                del draft.fields[name]
            draft.modified = self.position
            self.now.drafts.pop((user, record_id), None)
            if draft.fields:
                self.now.drafts[user, record_id] = draft
            base = {name: theirs[name] for name in moved if name not in before}
            made.append(
                DraftedRecord(
                    record_id=record_id,
                    base_position=self.position - 1,
                    base=DraftValues(**base),
                    now=DraftValues(**moved),
                    dropped=dropped,
                )
            )
        return DraftsSaved(user_id=user, connection_id=CONNECTION, drafts=tuple(made)) if made else None

    def _draft(self, draft: Drafted) -> Draft:
        return Draft(
            base_position=0,
            base=DraftValues(**{name: base for name, (base, _) in draft.fields.items()}),
            now=DraftValues(**{name: now for name, (_, now) in draft.fields.items()}),
        )

    def end(self) -> DraftsEvent | None:
        dice, user = self.random, self.random.choice(USERS)
        mine = [record_id for owner, record_id in self.now.drafts if owner == user]
        ended: list[EndedDraft] = []
        rebased: list[RebasedDraft] = []
        clearing = dice.random() < 0.5
        for record_id in dice.sample(mine, min(len(mine), 2)):
            draft = self.now.drafts[user, record_id]
            was = self._draft(draft)
            names = tuple(dice.sample(list(draft.fields), dice.randint(1, len(draft.fields))))
            for name in names:
                del draft.fields[name]
            draft.modified = self.position
            ended.append(EndedDraft(record_id=record_id, fields=names, was=was))
            if not draft.fields:
                del self.now.drafts[user, record_id]
            elif clearing:
                name = dice.choice(list(draft.fields))
                base = getattr(self.now.records[record_id].values, name)
                draft.fields[name] = (base, draft.fields[name][1])
                rebased.append(RebasedDraft(record_id=record_id, base_digest="", base=DraftValues(**{name: base})))
        if not ended:
            return None
        if clearing:
            return DraftsCleared(
                user_id=user,
                connection_id=CONNECTION,
                changeset_id=RUN,
                drafts=tuple(ended),
                rebased=tuple(rebased),
            )
        return DraftsDiscarded(user_id=user, connection_id=CONNECTION, drafts=tuple(ended))

    def restore(self) -> DraftsEvent | None:
        dice, user = self.random, self.random.choice(USERS)
        free = [record_id for record_id in self.now.records if (user, record_id) not in self.now.drafts]
        if not free:
            return None
        record_id = dice.choice(free)
        wanted, theirs = asdict(self.values()), asdict(self.now.records[record_id].values)
        names = [name for name in dice.sample(EDITABLE, 3) if wanted[name] != theirs[name]]
        if not names:
            return None
        draft = Drafted({name: (asdict(self.values())[name], wanted[name]) for name in names}, self.position)
        self.now.drafts[user, record_id] = draft
        return DraftsRestored(
            user_id=user, connection_id=CONNECTION, command_id=RUN, drafts=((record_id, self._draft(draft)),)
        )


def _stream_of(event: MirrorEvent | DraftsEvent) -> UUID:
    if isinstance(event, MirrorEvent):
        return mirror_of(CONNECTION)
    return drafts_of(event.user_id, CONNECTION)


def payload(event: Event) -> tuple[str, bytes]:
    """An event's tag and its bytes in the log."""
    return tag_of(type(event)), msgspec.json.encode(event)
