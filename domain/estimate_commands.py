"""What may be asked of an estimate version: its commands, in the order of an estimator's work."""

from datetime import date
from typing import Annotated, ClassVar, Final, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import Field, model_validator

from domain.decider import AUTHORS, Command, Role
from domain.faults import Fault, refuse
from domain.lines import (
    IMPORT_LIMIT,
    TWO_PRICES,
    Code,
    ConversionInput,
    CostType,
    Firmness,
    LineInput,
    Pricing,
    WbsPath,
)
from domain.markups import MARKUPS_LIMIT, MarkupInput, list_faults
from domain.money import Amount, Currency, Fraction, Margin, Quantity, UnitPrice
from domain.risks import Days, ResponseInput, RiskInput, RiskKind
from domain.simulation import SimulationCommand
from domain.subset import Subset, optional
from domain.text import Label, Name, Note, NotEmpty, Sentence
from domain.units import Unit

Status: TypeAlias = Literal["draft", "in-review", "submitted", "awarded", "lost", "archived"]
"""Content changes in a draft only. Submitted is reached by `SubmitEstimate` alone, and freezes the bid for good."""
AaceClass: TypeAlias = Annotated[int, Field(ge=1, le=5)]
"""How far what is priced is defined: 5 is a first idea, 1 is all drawn. AACE 18R-97."""

_LINE_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"
_RISK_ID: Final = "0197b2a4-6a00-7000-8000-000000000001"


class StartEstimate(Command):
    """Starts the project's next version: empty, or with what a parent version of the same project holds: its lines,
    risks, mark-ups, margin and class.
    """

    roles: ClassVar[frozenset[Role]] = AUTHORS

    project_id: UUID = Field(description="The project it is a version of.", examples=[_LINE_ID])
    parent_id: UUID | None = Field(default=None, description="The version it is copied from.", examples=[_LINE_ID])
    currency: Currency = Field(description="The company's currency; a parent's must be the same.", examples=["USD"])
    target_margin: Margin | None = Field(
        default=None,
        description="Margin on price, as a fraction below 1; null takes the parent's, or 0 without a parent.",
        examples=["0.12"],
    )
    title: Name | None = Field(default=None, description="What to call this version.", examples=["Bid"])
    notes: Note | None = Field(default=None, description="Why this version.", examples=["After addendum 2"])
    effective_on: date | None = Field(
        default=None, description="The business date its prices are of; null when not stated.", examples=["2022-01-28"]
    )
    aace_class: AaceClass | None = Field(
        default=None, description="AACE class; null takes the parent's, if there is one.", examples=[3]
    )
    basis: Note | None = Field(
        default=None, description="Basis of estimate; null takes the parent's.", examples=["60 % drawings"]
    )


class AddLine(Command, LineInput):
    """Adds a line after all others."""

    roles: ClassVar[frozenset[Role]] = AUTHORS


class ReviseLine(Subset):
    """Changes the fields it is given; auto-save sends this. Place and work breakdown change by `MoveLine`."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    identifying: ClassVar[frozenset[str]] = frozenset({"line_id"})

    line_id: UUID = Field(description="The line to change.", examples=[_LINE_ID])
    description: Sentence = optional("What the line is for.", ["REMOVE CONCRETE PAVEMENT"])
    quantity: Quantity = optional("How much; 1 for a lump sum.", ["4400"])
    unit: Unit = optional("A unit of the controlled list, or another spelling of one.", ["S Y"])
    conversion: ConversionInput | None = optional(
        "A price in another currency, which gives the unit price; null keeps the price and forgets where it is from.",
        [None],
    )
    unit_price: UnitPrice = optional("Price of one unit; the line is then no longer converted.", ["5.9"])
    extension: Amount | None = optional(
        "A submitted amount, never derived again; null goes back to quantity × unit price.", ["14335.86"]
    )
    code: Code = optional("Cost code; null for none.", ["2104504/00120"])
    code_set: Code = optional("The set the code is from; null for none.", ["MnDOT"])
    code_edition: Code = optional("The edition of that set; null for none.", ["2020"])
    cost_type: CostType = optional("What kind of money.", ["labour"])
    note: Note | None = optional("Basis or remark; null for none.", ["Quantity from sheet 14"])
    quote_reference: Name | None = optional("The quote it rests on; null for none.", ["Q-2217"])
    firmness: Firmness = optional("A plug awaits its quote.", ["firm"])
    pricing: Pricing = optional("Only base lines count in the bid.", ["alternate"])

    @model_validator(mode="after")
    def _has_one_price(self) -> Self:
        if "unit_price" in self.model_fields_set and self.conversion is not None:
            refuse(self, [Fault(("unit_price",), "two_prices", TWO_PRICES)])
        return self


class MoveLine(Subset):
    """Puts the line elsewhere in the reading order, in the work breakdown, or both."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    identifying: ClassVar[frozenset[str]] = frozenset({"line_id"})

    line_id: UUID = Field(description="The line to move.", examples=[_LINE_ID])
    wbs_path: WbsPath = optional("Its new place in the work breakdown.", [["SP 5625-20", "Removals"]])
    after_line_id: UUID | None = optional("The line it shall follow; null puts it first.", [_LINE_ID])


class RemoveLine(Command):
    """Takes a line out. Its id is not used again in this version."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    line_id: UUID = Field(description="The line to remove.", examples=[_LINE_ID])


class ImportLines(Command):
    """Adds many lines after all others, in the order given: all of them or none. Lines that are already there with
    the same content are passed over.
    """

    roles: ClassVar[frozenset[Role]] = AUTHORS

    lines: Annotated[tuple[LineInput, ...], Field(max_length=IMPORT_LIMIT), NotEmpty()] = Field(
        description=f"Up to {IMPORT_LIMIT:,} lines."
    )


class ChangeMargin(Command):
    """Sets the target margin on price."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    target_margin: Margin = Field(description="A fraction below 1; zero and negative are allowed.", examples=["0.12"])


class ChangeNotes(Subset):
    """Changes title, notes or both."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    title: Name | None = optional("What to call this version; null for none.", ["Bid"])
    notes: Note | None = optional("Why this version; null for none.", ["After addendum 2"])


class SetMarkups(Command):
    """Sets the whole ordered list of mark-ups, from base total to cost."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    markups: Annotated[tuple[MarkupInput, ...], Field(max_length=MARKUPS_LIMIT)] = Field(
        description="Each step in its turn; empty for none. Without a step `risk` the risk adjustment joins first.",
        examples=[[{"kind": "risk"}, {"kind": "overhead", "markup_id": _LINE_ID, "name": "Overhead", "rate": "0.08"}]],
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        refuse(self, (fault._replace(path=("markups", *fault.path)) for fault in list_faults(self.markups)))
        return self


class AddRisk(Command, RiskInput):
    """Adds a risk to the register, open."""

    roles: ClassVar[frozenset[Role]] = AUTHORS


class ReviseRisk(Subset):
    """Changes the fields of a risk it is given. A response is given as a whole."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    identifying: ClassVar[frozenset[str]] = frozenset({"risk_id"})

    risk_id: UUID = Field(description="The risk to change.", examples=[_RISK_ID])
    kind: RiskKind = optional("Whether it costs, saves, or may do either.", ["threat"])
    title: Name = optional("What it is called.", ["Unsuitable subgrade"])
    category: Label | None = optional("Where it comes from; null for none.", ["ground"])
    cause: Note | None = optional("What it rests on; null for none.", ["Borings are 200 m apart"])
    event: Note | None = optional("What may happen; null for none.", ["Peat below station 40"])
    consequence: Note | None = optional("What follows; null for none.", ["Excavate and replace"])
    probability: Fraction = optional("How likely it is.", ["0.15"])
    low: Amount = optional("The least it would cost.", ["100000.00"])
    likely: Amount | None = optional("What it would most likely cost; null for none.", [None])
    high: Amount = optional("The most it would cost.", ["300000.00"])
    schedule_days: Days | None = optional("Calendar days it would take; null for none.", [10])
    owner: Name | None = optional("Who watches it; null for nobody.", ["R. Berg"])
    review_on: date | None = optional("When it is looked at next; null for never.", ["2022-03-01"])
    response: ResponseInput | None = optional("What is done about it; null for nothing.", [None])


class ApplyMitigation(Command):
    """Puts the risk's response into the bid: what is left of the risk counts from now on, and the response's cost."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    risk_id: UUID = Field(description="The risk that is mitigated.", examples=[_RISK_ID])
    applied_on: date = Field(description="When it was decided.", examples=["2022-01-20"])


class WithdrawMitigation(Command):
    """Takes the response out of the bid again."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    risk_id: UUID = Field(description="The risk that is open again.", examples=[_RISK_ID])
    reason: Sentence = Field(description="Why.", examples=["No rig available before the letting"])


class CloseRisk(Command):
    """Says that the risk is over. In a draft it leaves the bid; in a submitted version only what is still open."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    risk_id: UUID = Field(description="The risk that is over.", examples=[_RISK_ID])
    closed_on: date = Field(description="Since when.", examples=["2022-06-30"])
    reason: Sentence = Field(description="Why.", examples=["Subgrade accepted"])


class ReopenRisk(Command):
    """Says that a closed risk is not over after all. One that occurred stays so."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    risk_id: UUID = Field(description="The risk that is open again.", examples=[_RISK_ID])
    reason: Sentence = Field(description="Why.", examples=["Closed by mistake"])


class RemoveRisk(Command):
    """Takes out a risk that was entered by mistake. Its id is not used again in this version."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    risk_id: UUID = Field(description="The risk to remove.", examples=[_RISK_ID])


class Classify(Command):
    """Says how far what is priced is defined. Going to a lower number, a better class, needs a reason."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    aace_class: AaceClass = Field(description="5 (a first idea) to 1 (all drawn).", examples=[3])
    basis: Note = Field(description="Basis of estimate: what it rests on.", examples=["60 % drawings, three quotes"])
    reason: Sentence | None = Field(default=None, description="Why the class changes.", examples=["Quotes arrived"])


class TagVersion(Command):
    """Marks this moment of the version by a name: its position is what the tag stands for."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    tag: Label = Field(description="The mark, used once in a version.", examples=["before-addendum-2"])


class UntagVersion(Command):
    """Takes a mark away."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    tag: Label = Field(description="The mark.", examples=["before-addendum-2"])


class ChangeEstimateStatus(Command):
    """Moves a draft to review and back; a submitted version to awarded or lost; any version to the archive and back.
    A draft is submitted by `SubmitEstimate` alone.
    """

    status: Status = Field(description="What it becomes.", examples=["awarded"])
    reason: Sentence | None = Field(
        default=None,
        description="Why. Needed for the way back to draft, for a decision withdrawn, and for the archive.",
        examples=["Letter of award of 2022-02-14"],
    )


class UndoChange(Command):
    """Takes one earlier change back and leaves the later ones as they are. What it changed and is not so any more was
    overtaken: then nothing is undone. The change is the whole command, an import with all its lines.
    """

    roles: ClassVar[frozenset[Role]] = AUTHORS

    stream_version: Annotated[int, Field(ge=1)] = Field(
        description="The estimate's stream version of an event of the change, from its history.", examples=[17]
    )


class SubmitEstimate(Command):
    """Freezes the version and records its totals, the way to its bid, and a hash of its content."""


EstimateCommand: TypeAlias = (
    AddLine
    | ReviseLine
    | MoveLine
    | RemoveLine
    | ImportLines
    | ChangeMargin
    | ChangeNotes
    | SetMarkups
    | AddRisk
    | ReviseRisk
    | ApplyMitigation
    | WithdrawMitigation
    | CloseRisk
    | ReopenRisk
    | RemoveRisk
    | Classify
    | TagVersion
    | UntagVersion
    | ChangeEstimateStatus
    | SubmitEstimate
    | SimulationCommand
)
"""Those decided on the estimate's own stream. `StartEstimate` and `UndoChange` need more than that."""
