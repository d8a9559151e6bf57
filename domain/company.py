"""A company, the tenant everything belongs to: its name, subscription and the settings money is computed with."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import ClassVar, Final, Literal, TypeAlias, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType, field
from msgspec.structs import replace
from pydantic import Field

from domain.decider import Command, Decider, Event, Rejected, Role, State, members
from domain.money import Currency, Fraction
from domain.subset import Change, Subset, difference, optional
from domain.text import Label, Name

Rounding: TypeAlias = Literal["half-up"]
"""How a line's extension becomes cents. One rule today; a controlled value so that another can be told apart."""
MonthRule: TypeAlias = Literal[
    "fraction-of-calendar-month",
    "calendar-months-touched",
    "month-number-difference",
    "anniversary",
    "days-28",
    "days-30",
    "days-30-44",
    "days-365-over-12",
]
"""What a month of rental is. The rules differ by up to a factor of three for one rental, so it is a named setting."""
ConflictRule: TypeAlias = Literal["field", "record"]
"""When a draft and the upstream conflict: if both moved the same field, or if the upstream moved the record at all."""

REJECTIONS: Final[Mapping[str, str]] = {
    "company.unknown": "No company is registered under this id.",
    "company.already-registered": "A company with other particulars is registered under this id.",
}


class RegisterCompany(Command):
    """Opens a company's log. The stream's id is the company's."""

    roles: ClassVar[frozenset[Role]] = frozenset()

    name: Name = Field(description="The company's name.", examples=["Northern Paving"])
    tier: Label = Field(description="Subscription tier.", examples=["standard"])
    tier_expires_on: date | None = Field(
        default=None, description="Last day of the subscription; null for one without end.", examples=["2027-12-31"]
    )
    currency: Currency = Field(description="ISO 4217 code; fixed once registered.", examples=["USD"])
    rounding: Rounding = Field(default="half-up", description="How extensions are rounded.", examples=["half-up"])
    month_rule: MonthRule = Field(
        default="fraction-of-calendar-month",
        description="What a month of rental is.",
        examples=["fraction-of-calendar-month"],
    )
    variance_threshold: Fraction = Field(
        default=Decimal("0.1"),
        description="Fraction of a budget beyond which a variance is reported.",
        examples=["0.1"],
    )
    conflict_rule: ConflictRule = Field(
        default="field",
        description="Whether a draft conflicts with the upstream if the same field moved there, or any of the record.",
        examples=["field"],
    )


class RenameCompany(Command):
    """Gives the company another name."""

    roles: ClassVar[frozenset[Role]] = frozenset({Role.OWNER})

    name: Name = Field(description="The new name.", examples=["Northern Paving & Grading"])


class ChangeSettings(Subset):
    """Changes the settings it is given."""

    roles: ClassVar[frozenset[Role]] = frozenset({Role.OWNER})

    rounding: Rounding = optional("How extensions are rounded.", ["half-up"])
    month_rule: MonthRule = optional("What a month of rental is.", ["days-28"])
    variance_threshold: Fraction = optional("Fraction of a budget beyond which a variance is reported.", ["0.05"])
    conflict_rule: ConflictRule = optional(
        "Whether a draft conflicts with the upstream if the same field moved there, or any of the record.", ["record"]
    )


class ChangeTier(Command):
    """Changes the subscription; the operator's business, not the company's."""

    roles: ClassVar[frozenset[Role]] = frozenset()

    tier: Label = Field(description="Subscription tier.", examples=["enterprise"])
    tier_expires_on: date | None = Field(description="Last day of the subscription; null for one without end.")


class Settings(Change, frozen=True):
    """Company settings before or after a change."""

    rounding: Rounding | UnsetType = UNSET
    month_rule: MonthRule | UnsetType = UNSET
    variance_threshold: Decimal | UnsetType = UNSET
    conflict_rule: ConflictRule | UnsetType = UNSET


class Subscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tier and the last day it is paid for; None is without end."""

    tier: str
    tier_expires_on: date | None = None


class CompanyRegistered(Event, frozen=True, kw_only=True, tag="company.registered"):
    name: str
    subscription: Subscription
    currency: str
    rounding: Rounding
    month_rule: MonthRule
    variance_threshold: Decimal
    conflict_rule: ConflictRule = "field"


class CompanyRenamed(Event, frozen=True, kw_only=True, tag="company.renamed"):
    was: str
    now: str


class SettingsChanged(Event, frozen=True, kw_only=True, tag="company.settings-changed"):
    was: Settings
    now: Settings


class TierChanged(Event, frozen=True, kw_only=True, tag="company.tier-changed"):
    was: Subscription
    now: Subscription


class CodeEditionRegistered(Event, frozen=True, kw_only=True, tag="company.code-edition-registered"):
    """An edition of a code set belongs to the company now. Its codes are in the stream of `codeset_id`."""

    code_set: str
    edition: str
    codeset_id: UUID


CompanyCommand: TypeAlias = RegisterCompany | RenameCompany | ChangeSettings | ChangeTier
CompanyEvent: TypeAlias = CompanyRegistered | CompanyRenamed | SettingsChanged | TierChanged | CodeEditionRegistered


class Company(State, frozen=True, kw_only=True):
    """`name` is empty until the company is registered; `code_editions` is set → edition → the id it is kept under."""

    name: str = ""
    subscription: Subscription = Subscription(tier="")
    currency: str = ""
    rounding: Rounding = "half-up"
    month_rule: MonthRule = "fraction-of-calendar-month"
    variance_threshold: Decimal = Decimal(0)
    conflict_rule: ConflictRule = "field"
    code_editions: dict[str, dict[str, UUID]] = field(default_factory=dict)


def decide(command: CompanyCommand, company: Company) -> list[CompanyEvent]:
    match command:
        case RegisterCompany():
            return _register(command, company)
        case RenameCompany(name=name):
            _require_registered(company)
            return [] if name == company.name else [CompanyRenamed(was=company.name, now=name)]
        case ChangeSettings():
            _require_registered(company)
            change = difference(Settings, company, command.given())
            return [SettingsChanged(was=change[0], now=change[1])] if change else []
        case ChangeTier():
            _require_registered(company)
            wanted = Subscription(tier=command.tier, tier_expires_on=command.tier_expires_on)
            return [] if wanted == company.subscription else [TierChanged(was=company.subscription, now=wanted)]
    assert_never(command)


def _require_registered(company: Company) -> None:
    if not company.name:
        raise Rejected("company.unknown", "missing")


def _register(command: RegisterCompany, company: Company) -> list[CompanyEvent]:
    registered = CompanyRegistered(
        name=command.name,
        subscription=Subscription(tier=command.tier, tier_expires_on=command.tier_expires_on),
        currency=command.currency,
        rounding=command.rounding,
        month_rule=command.month_rule,
        variance_threshold=command.variance_threshold,
        conflict_rule=command.conflict_rule,
    )
    if not company.name:
        return [registered]
    if evolve(company, registered) == company:
        return []
    raise Rejected("company.already-registered", "conflict", name=company.name)


def evolve(company: Company, event: CompanyEvent) -> Company:
    match event:
        case CompanyRegistered():
            return replace(
                company,
                name=event.name,
                subscription=event.subscription,
                currency=event.currency,
                rounding=event.rounding,
                month_rule=event.month_rule,
                variance_threshold=event.variance_threshold,
                conflict_rule=event.conflict_rule,
            )
        case CompanyRenamed():
            return replace(company, name=event.now)
        case SettingsChanged():
            return replace(company, **event.now.given())
        case TierChanged():
            return replace(company, subscription=event.now)
        case CodeEditionRegistered():
            editions = {**company.code_editions.get(event.code_set, {}), event.edition: event.codeset_id}
            return replace(company, code_editions={**company.code_editions, event.code_set: editions})
    assert_never(event)


company = Decider(
    category="company",
    initial=Company(),
    decide=decide,
    evolve=evolve,
    commands=members(CompanyCommand),
    events=members(CompanyEvent),
)
