"""Risks of an estimate: what may happen, what it would cost, what is done about it, and what that adds to the bid."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal, NamedTuple, Self, TypeAlias
from uuid import UUID

import msgspec
import pydantic
from msgspec import UNSET, UnsetType
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from domain.faults import Fault, refuse
from domain.money import CENT, EXACT, ZERO, Amount, Fraction
from domain.subset import Change
from domain.text import Label, Name, Note

RiskKind: TypeAlias = Literal["threat", "opportunity", "uncertainty"]
"""A threat costs money, an opportunity saves it (its impacts are negative), an uncertainty may do either."""
ResponseKind: TypeAlias = Literal["avoid", "mitigate", "transfer", "accept"]
RiskStatus: TypeAlias = Literal["open", "mitigated", "closed", "occurred"]
Days: TypeAlias = Annotated[int, Field(ge=-36_500, le=36_500)]


def _not_negative(amount: Decimal) -> Decimal:
    if amount < 0:
        raise PydanticCustomError("amount_negative", "What a response costs is 0 or more")
    return amount


ResponseCost: TypeAlias = Annotated[Amount, AfterValidator(_not_negative)]

_ORDER: Final = "The impacts are in order: low is at most likely, and likely at most high"
_SIGNS: Final = {
    "threat": "A threat costs money: its lowest impact is 0 or more. What may go either way is an uncertainty",
    "opportunity": "An opportunity saves money: its highest impact is 0 or less, so -5000 for 5,000 saved",
}


class ResponseInput(pydantic.BaseModel):
    """What is done about a risk, and what is left of the risk then. Impacts are in the estimate's currency."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: ResponseKind = Field(description="How the risk is met.", examples=["mitigate"])
    strategy: Note | None = Field(default=None, description="What is done.", examples=["Soil borings every 50 m"])
    cost: ResponseCost = Field(description="What the response itself costs.", examples=["8000.00"])
    residual_probability: Fraction = Field(description="How likely the risk then still is.", examples=["0.05"])
    residual_low: Amount = Field(description="The least it would then cost.", examples=["100000.00"])
    residual_likely: Amount | None = Field(
        default=None, description="What it would most likely cost; null when all between is as likely.", examples=[None]
    )
    residual_high: Amount = Field(description="The most it would then cost.", examples=["300000.00"])


class RiskInput(pydantic.BaseModel):
    """A risk as it is sent. The id is the sender's and stays with the risk in later versions."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    risk_id: UUID = Field(description="Names the risk.", examples=["0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"])
    kind: RiskKind = Field(description="Whether it costs, saves, or may do either.", examples=["threat"])
    title: Name = Field(description="What it is called.", examples=["Unsuitable subgrade"])
    category: Label | None = Field(default=None, description="Where it comes from.", examples=["ground"])
    cause: Note | None = Field(default=None, description="What it rests on.", examples=["Borings are 200 m apart"])
    event: Note | None = Field(default=None, description="What may happen.", examples=["Peat below station 40"])
    consequence: Note | None = Field(default=None, description="What follows.", examples=["Excavate and replace"])
    probability: Fraction = Field(description="How likely it is.", examples=["0.15"])
    low: Amount = Field(description="The least it would cost; negative for money saved.", examples=["100000.00"])
    likely: Amount | None = Field(
        default=None, description="What it would most likely cost; null when all between is as likely.", examples=[None]
    )
    high: Amount = Field(description="The most it would cost.", examples=["300000.00"])
    schedule_days: Days | None = Field(default=None, description="Calendar days it would take.", examples=[10])
    owner: Name | None = Field(default=None, description="The person or firm who watches it.", examples=["R. Berg"])
    review_on: date | None = Field(default=None, description="When it is looked at next.", examples=["2022-03-01"])
    response: ResponseInput | None = Field(default=None, description="What is done about it; null for nothing yet.")

    @model_validator(mode="after")
    def _impacts_make_sense(self) -> Self:
        refuse(self, impact_faults(self))
        return self


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is done about a risk, and what is left of it then."""

    kind: ResponseKind
    cost: Decimal
    residual_probability: Decimal
    residual_low: Decimal
    residual_high: Decimal
    residual_likely: Decimal | None = None
    strategy: str | None = None


class Risk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A risk as it stands. `mitigated_on` stays when a mitigated risk is closed or occurs."""

    risk_id: UUID
    kind: RiskKind
    title: str
    probability: Decimal
    low: Decimal
    high: Decimal
    likely: Decimal | None = None
    category: str | None = None
    cause: str | None = None
    event: str | None = None
    consequence: str | None = None
    schedule_days: int | None = None
    owner: str | None = None
    review_on: date | None = None
    response: Response | None = None
    status: RiskStatus = "open"
    mitigated_on: date | None = None
    closed_on: date | None = None
    closed_because: str | None = None
    occurred_on: date | None = None
    occurred_cost: Decimal | None = None


class RiskChange(Change, frozen=True):
    """Fields of a risk before or after a revision. A response changes as a whole."""

    kind: RiskKind | UnsetType = UNSET
    title: str | UnsetType = UNSET
    category: str | UnsetType | None = UNSET
    cause: str | UnsetType | None = UNSET
    event: str | UnsetType | None = UNSET
    consequence: str | UnsetType | None = UNSET
    probability: Decimal | UnsetType = UNSET
    low: Decimal | UnsetType = UNSET
    likely: Decimal | UnsetType | None = UNSET
    high: Decimal | UnsetType = UNSET
    schedule_days: int | UnsetType | None = UNSET
    owner: str | UnsetType | None = UNSET
    review_on: date | UnsetType | None = UNSET
    response: Response | UnsetType | None = UNSET


def response_from(sent: ResponseInput | None) -> Response | None:
    """The response that was sent."""
    return None if sent is None else Response(**dict(sent))


def risk_from(sent: RiskInput) -> Risk:
    """The risk that was sent, open."""
    fields = {name: getattr(sent, name) for name in RiskInput.model_fields}
    return Risk(**fields | {"response": response_from(sent.response)})


class _Range(NamedTuple):
    low: Decimal
    likely: Decimal | None
    high: Decimal


def impact_faults(risk: RiskInput | Risk) -> Iterator[Fault]:
    """What is wrong with the impacts, before and after the response: their order, and their sign for the kind."""
    yield from _faults(risk.kind, _Range(risk.low, risk.likely, risk.high), ("low", "likely", "high"), ())
    if (left := risk.response) is not None:
        names = ("residual_low", "residual_likely", "residual_high")
        impacts = _Range(left.residual_low, left.residual_likely, left.residual_high)
        yield from _faults(risk.kind, impacts, names, ("response",))


def _faults(kind: RiskKind, impacts: _Range, names: tuple[str, str, str], within: tuple[str, ...]) -> Iterator[Fault]:
    low, likely, high = impacts
    if low > high:
        yield Fault((*within, names[0]), "impact_order", _ORDER)
    elif likely is not None and not low <= likely <= high:
        yield Fault((*within, names[1]), "impact_order", _ORDER)
    if kind == "threat" and low < 0:
        yield Fault((*within, names[0]), "impact_sign", _SIGNS[kind])
    if kind == "opportunity" and high > 0:
        yield Fault((*within, names[2]), "impact_sign", _SIGNS[kind])


def mean_impact(low: Decimal, likely: Decimal | None, high: Decimal) -> Decimal:
    """The mean over a range, not rounded: (low + high) / 2 when all between is as likely, else the triangle's
    (low + likely + high) / 3. AACE 44R-08.
    """
    if likely is None:
        return EXACT.divide(EXACT.add(low, high), Decimal(2))
    return EXACT.divide(EXACT.add(EXACT.add(low, likely), high), Decimal(3))


def expected(risk: Risk, *, residual: bool = False) -> Decimal:
    """Probability × mean impact, rounded once, half-up to cents; `residual`: of what the response leaves of it. Without
    a response nothing changes.
    """
    if residual and (left := risk.response) is not None:
        return _expected(left.residual_probability, left.residual_low, left.residual_likely, left.residual_high)
    return _expected(risk.probability, risk.low, risk.likely, risk.high)


def _expected(probability: Decimal, low: Decimal, likely: Decimal | None, high: Decimal) -> Decimal:
    return EXACT.quantize(EXACT.multiply(probability, mean_impact(low, likely, high)), CENT) or ZERO


def response_cost(risk: Risk) -> Decimal:
    """What the response costs; 0.00 without one."""
    return ZERO if risk.response is None else risk.response.cost


def contribution(risk: Risk) -> Decimal:
    """What the risk adds to the risk adjustment: open, what is expected of it; mitigated, what is expected of the rest
    and the response's cost; closed or occurred, nothing.
    """
    if risk.status == "open":
        return expected(risk)
    if risk.status == "mitigated":
        return EXACT.add(expected(risk, residual=True), response_cost(risk))
    return ZERO


def exposure(risk: Risk) -> Decimal:
    """What is still expected of the risk, whatever was put into a bid for it; 0.00 once it is closed or occurred."""
    return expected(risk, residual=risk.status == "mitigated") if risk.status in ("open", "mitigated") else ZERO


def saving(risk: Risk) -> Decimal | None:
    """What the response saves: expected before − expected after − its cost. Negative when it costs more than it saves;
    None without a response.
    """
    if risk.response is None:
        return None
    left = EXACT.subtract(expected(risk), expected(risk, residual=True))
    return EXACT.subtract(left, risk.response.cost)
