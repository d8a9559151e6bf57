"""Who belongs to a company, and the tokens that act for them."""

import typing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pydantic
import pytest

from domain.decider import ERASED, STREAM, Command, Event, Role
from domain.membership import (
    AddMember,
    ChangePreferences,
    ChangeRole,
    ForgetMember,
    IssueToken,
    MemberAdded,
    MemberForgotten,
    MemberRemoved,
    Preferences,
    PreferencesChanged,
    RemoveMember,
    RevokeToken,
    RoleChanged,
    TokenIssued,
    TokenRevoked,
    membership,
)
from domain.registry import COMMANDS, EVENTS
from tests.specs import given

TOKEN = UUID(int=7)
AT = datetime(2027, 12, 31, 23, 0, tzinfo=UTC)
ADD = AddMember(name="Ada Winters", email="ada@northern.example", role=Role.ESTIMATOR)
ADDED = MemberAdded(name="Ada Winters", email="ada@northern.example", role=Role.ESTIMATOR)
REMOVED = MemberRemoved(name="Ada Winters", email="ada@northern.example", role=Role.ESTIMATOR)
ISSUED = TokenIssued(token_id=TOKEN, secret_hash="0" * 64, label="laptop", expires_at=AT)
REVOKED = TokenRevoked(token_id=TOKEN, label="laptop")


def issue(**other: Any) -> IssueToken:
    body = {"token_id": TOKEN, "secret_hash": "0" * 64, "label": "laptop", "expires_at": AT}
    return IssueToken.model_validate({**body, **other})


def test_adding() -> None:
    given(membership).when(ADD).then(ADDED)
    given(membership, ADDED).when(ADD).then_nothing()
    other = ADD.model_copy(update={"role": Role.OWNER})
    given(membership, ADDED).when(other).then_rejected("membership.already-added", "conflict")
    given(membership, ADDED, REMOVED).when(ADD).then_rejected("membership.removed", "conflict")


def test_another_role() -> None:
    given(membership, ADDED).when(ChangeRole(role=Role.VIEWER)).then(RoleChanged(was=Role.ESTIMATOR, now=Role.VIEWER))
    given(membership, ADDED).when(ChangeRole(role=Role.ESTIMATOR)).then_nothing()
    given(membership, ADDED, REMOVED).when(ChangeRole(role=Role.VIEWER)).then_rejected("membership.removed", "conflict")


def prefer(**wanted: str | None) -> ChangePreferences:
    return ChangePreferences.model_validate(wanted)


def test_preferences() -> None:
    chosen = given(membership, ADDED).when(prefer(time_zone="America/Chicago", language="en-US"))
    first = PreferencesChanged(
        was=Preferences(time_zone=None, language=None), now=Preferences(time_zone="America/Chicago", language="en-US")
    )
    chosen.then(first)
    given(membership, ADDED, first).when(prefer(language="en-US")).then_nothing()
    given(membership, ADDED, first).when(prefer(language="de", date_format="DD.MM.YYYY", time_zone=None)).then(
        PreferencesChanged(
            was=Preferences(time_zone="America/Chicago", language="en-US", date_format=None),
            now=Preferences(time_zone=None, language="de", date_format="DD.MM.YYYY"),
        )
    )
    given(membership).when(prefer(language="de")).then_rejected("membership.unknown", "missing")
    given(membership, ADDED, REMOVED).when(prefer(language="de")).then_rejected("membership.removed", "conflict")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        *(
            {"time_zone": each}
            for each in ("", "Mars/Olympus", "America", "../etc/passwd", "/UTC", "utc+1", "localtime")
        ),
        *({"language": each} for each in ("", "english", "EN", "en-us", "en_US", "en-US\n")),
        *({"date_format": each} for each in ("", "YY-MM-DD", "DD.MM.YYYY ")),
    ],
)
def test_what_is_no_preference(wrong: dict[str, str]) -> None:
    with pytest.raises(pydantic.ValidationError):
        prefer(**wrong)


@pytest.mark.parametrize("right", ["UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "America/Port-au-Prince"])
def test_time_zones(right: str) -> None:
    assert prefer(time_zone=right).time_zone == right


def test_removing() -> None:
    given(membership, ADDED).when(RemoveMember()).then(REMOVED)
    given(membership, ADDED, REMOVED).when(RemoveMember()).then_nothing()


def test_tokens() -> None:
    given(membership, ADDED).when(issue()).then(ISSUED)
    given(membership, ADDED, ISSUED).when(issue()).then_nothing()
    given(membership, ADDED, ISSUED).when(issue(label="phone")).then_rejected(
        "membership.token-already-issued", "conflict", token_id=str(TOKEN)
    )
    given(membership, ADDED, REMOVED).when(issue()).then_rejected("membership.removed", "conflict")
    given(membership, ADDED, ISSUED, REVOKED).when(issue()).then_rejected("membership.token-revoked", "conflict")


def test_revoking() -> None:
    given(membership, ADDED, ISSUED).when(RevokeToken(token_id=TOKEN)).then(REVOKED)
    given(membership, ADDED, ISSUED, REVOKED).when(RevokeToken(token_id=TOKEN)).then_nothing()
    given(membership, ADDED, ISSUED, REMOVED).when(RevokeToken(token_id=TOKEN)).then_nothing()
    given(membership, ADDED).when(RevokeToken(token_id=TOKEN)).then_rejected("membership.token-unknown", "missing")


@pytest.mark.parametrize("command", [ChangeRole(role=Role.OWNER), RemoveMember(), issue(), RevokeToken(token_id=TOKEN)])
def test_nobody_there(command: Any) -> None:
    given(membership).when(command).then_rejected("membership.unknown", "missing")


def test_instants_are_kept_in_utc() -> None:
    body = f'{{"token_id": "{TOKEN}", "secret_hash": "{"0" * 64}", "label": "laptop", "expires_at": '
    assert IssueToken.model_validate_json(body + '"2028-01-01T01:00:00+02:00"}') == issue()


@pytest.mark.parametrize(
    "at", ['"2027-12-31"', '"2027-12-31T23:00:00"', "1830000000", '"1830000000"', '"9999-12-31T23:59:59-12:00"', "null"]
)
def test_other_instants_are_refused(at: str) -> None:
    body = f'{{"token_id": "{TOKEN}", "secret_hash": "{"0" * 64}", "label": "laptop", "expires_at": {at}}}'
    with pytest.raises(pydantic.ValidationError, match="expires_at"):
        IssueToken.model_validate_json(body)


@pytest.mark.parametrize("secret_hash", ["0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_a_secret_is_known_by_its_hash_only(secret_hash: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="secret_hash"):
        issue(secret_hash=secret_hash)


def test_owners_only() -> None:
    assert {command.roles for command in membership.commands} == {frozenset({Role.OWNER})}


def test_forgetting() -> None:
    forget = ForgetMember(reason="requested")
    forgotten = MemberForgotten(reason="requested")
    given(membership).when(forget).then_rejected("membership.unknown", "missing")
    given(membership, ADDED).when(forget).then_rejected("membership.present", "conflict")
    given(membership, ADDED, REMOVED).when(forget).then(forgotten)
    given(membership, ADDED, REMOVED, forgotten).when(forget).then_nothing()
    given(membership, ADDED, REMOVED, forgotten).when(ADD).then_rejected("membership.removed", "conflict")


def test_who_was_forgotten_is_nobody() -> None:
    state = membership.initial
    for event in (ADDED, ISSUED, REMOVED, MemberForgotten(reason="unlawful")):
        state = membership.evolve(state, event)
    assert (state.name, state.email) == (ERASED, ERASED)
    assert "Ada" not in repr(state)


@pytest.mark.parametrize("declared", [*EVENTS.values(), *(kind for _, kind in COMMANDS.values())])
def test_what_is_sensitive_is_text_and_names_a_subject(declared: type[Event] | type[Command]) -> None:
    fields = typing.get_type_hints(declared)
    for field, whose in declared.sensitive.items():
        assert fields[field] in {str, str | None} or issubclass(declared, Command)
        assert whose == STREAM or fields[whose] is UUID


def test_a_command_hides_what_its_event_hides() -> None:
    hidden = {field for event in membership.events for field in event.sensitive}
    for command in membership.commands:
        assert set(command.sensitive) == hidden & set(command.model_fields)
