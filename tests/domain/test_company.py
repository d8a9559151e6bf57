"""A company is registered once, and its settings change field by field."""

from datetime import date
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from domain.company import (
    ChangeSettings,
    ChangeTier,
    CompanyRegistered,
    CompanyRenamed,
    RegisterCompany,
    RenameCompany,
    Settings,
    SettingsChanged,
    Subscription,
    TierChanged,
    company,
)
from tests.specs import given

STANDARD = Subscription(tier="standard", tier_expires_on=date(2027, 12, 31))
REGISTERED = CompanyRegistered(
    name="Northern Paving",
    subscription=STANDARD,
    currency="USD",
    rounding="half-up",
    month_rule="fraction-of-calendar-month",
    variance_threshold=Decimal("0.1"),
)


def register(**other: Any) -> RegisterCompany:
    body = {"name": "Northern Paving", "tier": "standard", "tier_expires_on": date(2027, 12, 31), "currency": "USD"}
    return RegisterCompany.model_validate({**body, **other})


def test_registering() -> None:
    given(company).when(register()).then(REGISTERED)
    given(company, REGISTERED).when(register()).then_nothing()
    given(company, REGISTERED).when(register(currency="EUR")).then_rejected(
        "company.already-registered", "conflict", name="Northern Paving"
    )


def test_settings_change_field_by_field() -> None:
    outcome = given(company, REGISTERED).when(ChangeSettings(month_rule="days-28", rounding="half-up"))
    outcome.then(
        SettingsChanged(was=Settings(month_rule="fraction-of-calendar-month"), now=Settings(month_rule="days-28"))
    )
    given(company, REGISTERED).when(ChangeSettings(conflict_rule="record")).then(
        SettingsChanged(was=Settings(conflict_rule="field"), now=Settings(conflict_rule="record"))
    )
    given(company, REGISTERED).when(ChangeSettings(conflict_rule="field")).then_nothing()
    given(company, REGISTERED).when(ChangeSettings(variance_threshold=Decimal("0.10"))).then_nothing()


@pytest.mark.parametrize("body", ["{}", '{"currency": "EUR"}', '{"month_rule": null}', '{"rounding": "half-even"}'])
def test_settings_that_cannot_be(body: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        ChangeSettings.model_validate_json(body)


def test_renaming_and_another_tier() -> None:
    given(company, REGISTERED).when(RenameCompany(name="NP")).then(CompanyRenamed(was="Northern Paving", now="NP"))
    given(company, REGISTERED).when(RenameCompany(name="Northern Paving")).then_nothing()
    free = ChangeTier(tier="standard", tier_expires_on=None)
    given(company, REGISTERED).when(free).then(TierChanged(was=STANDARD, now=Subscription(tier="standard")))
    given(company, REGISTERED).when(free, free).then_nothing()


@pytest.mark.parametrize(
    "command",
    [RenameCompany(name="NP"), ChangeSettings(rounding="half-up"), ChangeTier(tier="x", tier_expires_on=None)],
)
def test_nothing_else_before_registering(command: Any) -> None:
    given(company).when(command).then_rejected("company.unknown", "missing")


def test_only_the_operator_registers_and_sets_tiers() -> None:
    assert not RegisterCompany.roles
    assert not ChangeTier.roles
