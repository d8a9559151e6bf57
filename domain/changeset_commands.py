"""What may be done about a changeset: people open, settle and cancel it, a worker pushes it."""

from typing import Annotated, Any, ClassVar, Final, Self, TypeAlias
from uuid import UUID

import pydantic
from pydantic import AfterValidator, Field
from pydantic import model_validator as check

from domain.changeset_events import RecordMoved, RecordRefused, Settling
from domain.decider import Command, Role
from domain.drafts_commands import DRAFTS_LIMIT, FieldsInput
from domain.faults import Fault, refuse
from domain.instants import Instant
from domain.mirror import Changes
from domain.money import Amount, Currency
from domain.packed import Packed, sound
from domain.subset import optional
from domain.text import Label, NotEmpty, Sentence

BATCH_LIMIT: Final = 500
"""Records of one push: as many as one event adds to a changeset, so that no event is larger."""

_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"
RecordIds: TypeAlias = Annotated[tuple[UUID, ...], Field(max_length=DRAFTS_LIMIT), NotEmpty()]


class OpenChangeset(Command):
    """Sends drafts on their way to the upstream: all of them, or those of some records. What the upstream moved
    meanwhile waits for a decision, the others go ahead.
    """

    connection_id: UUID = Field(description="The connection whose records were drafted.", examples=[_ID])
    drafts_id: UUID = Field(description="The stream of the sender's drafts on it.", examples=[_ID])
    records: RecordIds | None = Field(
        default=None, description=f"Up to {DRAFTS_LIMIT:,} drafted records; null for all.", examples=[[_ID]]
    )
    note: Sentence | None = Field(default=None, description="Why.", examples=["Forecast of November"])


class ValuesInput(FieldsInput):
    """What fields in conflict shall say."""

    forecast_cost: Amount | None = optional("What is expected to be spent.", ["61250.00"])


class SettlementInput(pydantic.BaseModel):
    """How a record's conflict is settled."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    record_id: UUID = Field(description="The record in conflict.", examples=[_ID])
    how: Settling = Field(
        description="Push `mine`, let `theirs` stand and end the draft, or push another `value`.", examples=["mine"]
    )
    values: ValuesInput | None = Field(default=None, description="With `value`: of every field in conflict.")

    @check(mode="after")
    def _says_a_value(self) -> Self:
        if (self.how == "value") != (self.values is not None):
            refuse(self, [Fault(("values",), "values_misplaced", "Values are given with `value`, and with that alone")])
        return self


class SettleConflicts(Command):
    """Decides what becomes of records in conflict, which then go ahead."""

    settlements: Annotated[tuple[SettlementInput, ...], Field(max_length=DRAFTS_LIMIT), NotEmpty()] = Field(
        description="Each record once."
    )


class CancelChangeset(Command):
    """Ends what was not pushed yet; its drafts stay. What is under way is still answered."""

    reason: Sentence | None = Field(default=None, description="Why.", examples=["The forecast was withdrawn"])


class PusherCommand(Command):
    """Workers send it, past the API, or the operator."""

    roles: ClassVar[frozenset[Role]] = frozenset()


class BeginPush(PusherCommand):
    """Says which records are pushed, before they are. The batch's id is the key by which the upstream does it once."""

    batch_id: UUID = Field(description="Names the batch.", examples=[_ID])
    record_ids: Annotated[tuple[UUID, ...], Field(max_length=BATCH_LIMIT), NotEmpty()] = Field(
        description=f"Up to {BATCH_LIMIT} records that wait.", examples=[[_ID]]
    )


class DelayPush(PusherCommand):
    """Says that the upstream cannot be asked now."""

    code: Label = Field(description="Why, as workers call it.", examples=["upstream.unreachable"])
    facts: Annotated[dict[str, Any], Packed(), AfterValidator(sound)] = Field(
        default_factory=dict, description="What explains it."
    )
    retry_at: Instant | None = Field(
        default=None, description="When it is tried again.", examples=["2026-11-21T05:45:00Z"]
    )


class RecordAnswers(PusherCommand):
    """What the upstream said of records of a batch, each once. Those that it has not answered wait in the batch.

    `changes` are what the mirror so comes to say of records that were confirmed or had moved: changes and versions.
    """

    batch_id: UUID = Field(description="The batch.", examples=[_ID])
    mapping_version: int = Field(ge=1, description="The mapping that the answer was read by.", examples=[1])
    currency: Currency | None = Field(default=None, description="Of all amounts.", examples=["USD"])
    changes: Changes = Field(description="Of the mirror.", examples=[{}])
    confirmed: tuple[UUID, ...] = Field(default=(), description="What it has done.", examples=[[_ID]])
    refused: Annotated[tuple[RecordRefused, ...], Packed()] = Field(default=(), description="What it will not do.")
    moved: Annotated[tuple[RecordMoved, ...], Packed()] = Field(
        default=(), description="What it had changed itself, upon a newer version."
    )

    @check(mode="after")
    def _each_once(self) -> Self:
        ids = self.record_ids()
        if len(set(ids)) < len(ids):
            refuse(self, [Fault(("confirmed",), "record_twice", "A record is answered once in a command")])
        return self

    def record_ids(self) -> list[UUID]:
        """The records that were answered."""
        refused = [each.record_id for each in self.refused]
        return [*self.confirmed, *refused, *(each.record_id for each in self.moved)]


ChangesetCommand: TypeAlias = OpenChangeset | SettleConflicts | CancelChangeset | BeginPush | DelayPush | RecordAnswers
