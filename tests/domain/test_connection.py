"""A connection: its configuration, its credentials, a mapping with versions, and when it is synced."""

import json
from typing import Any
from uuid import UUID

import pydantic
import pytest

from domain.connection import (
    CloseConnection,
    Connection,
    DisableConnection,
    EnableConnection,
    OpenConnection,
    ReplaceCredentials,
    ReviseConnection,
    SetMapping,
    SetSchedule,
    connection,
)
from domain.connection_events import (
    ConnectionClosed,
    ConnectionDisabled,
    ConnectionEnabled,
    ConnectionEvent,
    ConnectionOpened,
    ConnectionRevised,
    CredentialsReplaced,
    MappingSet,
    Schedule,
    ScheduleSet,
)
from domain.decider import Ref, Role
from domain.mapping import MappingInput
from domain.mirror_events import SyncCancelled, SyncCounts, mirror_of
from domain.mirror_state import Mirror, Run
from domain.upstreams import as_stored, upstream_of
from tests.specs import SOME_ID, given

RUN = UUID(int=7)
MIRROR = Ref("mirror", mirror_of(SOME_ID))
HTTP: dict[str, Any] = {
    "kind": "http",
    "url": "https://erp.northern.example/api",
    "paging": {"by": "cursor"},
    "auth": {"by": "oauth2", "token_url": "https://login.northern.example/token"},
}
SQL: dict[str, Any] = {"kind": "sql", "host": "erp.northern.example", "database": "erp", "table": "items"}
SQL |= {"key": ["item"]}
SECRET = "correct horse battery staple"


def stored(body: dict[str, Any]) -> dict[str, Any]:
    """A configuration as events have it."""
    return as_stored(upstream_of(json.dumps(body)))


OPENED = ConnectionOpened(name="Plant ERP", kind="http", upstream=stored(HTTP))
GIVEN = CredentialsReplaced(username="cairn", secret=SECRET)
CREDENTIALS = {"username": "cairn", "secret": SECRET}


def opening(**other: Any) -> OpenConnection:
    return OpenConnection.model_validate_json(json.dumps({"name": "Plant ERP", "upstream": HTTP, **other}))


def revising(**body: Any) -> ReviseConnection:
    return ReviseConnection.model_validate_json(json.dumps(body))


def mapping(
    *money: tuple[str, str], identity: tuple[str, ...] = ("Item",), extra: dict[str, Any] | None = None
) -> MappingInput:
    """Fields of money with their currencies; what else is mapped."""
    fields: list[dict[str, Any]] = [{"upstream": "Trade", "name": "category", "type": "category", "feeds": "category"}]
    fields += [{"upstream": name, "name": name, "type": "money", "feeds": name, "unit": unit} for name, unit in money]
    fields += [extra] if extra else []
    return MappingInput.model_validate_json(json.dumps({"fields": fields, "identity": identity}))


def setting(*money: tuple[str, str], **more: Any) -> SetMapping:
    return SetMapping(mapping=mapping(*money, **more))


USD = mapping(("plan_cost", "USD")).as_mapping(1)
MAPPED = MappingSet(mapping=USD, currency="USD")


def test_opening() -> None:
    given(connection).when(opening()).then(OPENED)
    given(connection).when(opening(credentials=CREDENTIALS)).then(OPENED, GIVEN)
    given(connection, OPENED, GIVEN).when(opening(credentials=CREDENTIALS)).then_nothing()
    for other in (opening(), opening(name="ERP"), opening(credentials=CREDENTIALS | {"secret": "another"})):
        given(connection, OPENED, GIVEN).when(other).then_rejected(
            "connection.already-opened", "conflict", name="Plant ERP"
        )


def test_a_refusal_and_a_state_tell_no_secret() -> None:
    scene = given(connection, OPENED, GIVEN)
    refused = scene.when(opening(credentials=CREDENTIALS | {"secret": SECRET + "!"}))
    assert refused.rejection is not None
    for shown in (refused.rejection, refused.rejection.facts, scene.state, GIVEN, opening(credentials=CREDENTIALS)):
        assert SECRET not in repr(shown)
    assert SECRET not in repr(ReplaceCredentials(secret=SECRET))
    with pytest.raises(pydantic.ValidationError) as error:
        ReplaceCredentials(secret=SECRET + "\0")
    assert SECRET not in str(error.value.errors(include_input=False))


def test_revising() -> None:
    scene = given(connection, OPENED, GIVEN)
    scene.when(revising(name="Plant ERP", upstream=HTTP)).then_nothing()
    [renamed] = scene.when(revising(name="ERP")).events
    assert isinstance(renamed, ConnectionRevised)
    assert (renamed.was.given(), renamed.now.given()) == ({"name": "Plant ERP"}, {"name": "ERP"})
    given(connection, OPENED).when(revising(upstream=SQL)).then_rejected(
        "connection.kind-fixed", kind="http", asked="sql"
    )


@pytest.mark.parametrize(
    ("change", "dropped"),
    [
        ({"size": 50}, False),
        ({"url": "https://erp.northern.example/v2"}, False),
        ({"url": "https://erp.southern.example/api"}, True),
        ({"url": "http://erp.northern.example/api"}, True),
        ({"url": "https://erp.northern.example:8443/api"}, True),
        ({"auth": {"by": "oauth2", "token_url": "https://elsewhere.example/token"}}, True),
        ({"auth": {"by": "api-key"}}, True),
    ],
    ids=str,
)
def test_credentials_do_not_go_to_another_address(change: dict[str, Any], dropped: bool) -> None:
    scene = given(connection, OPENED, GIVEN)
    [revised] = scene.when(revising(upstream=HTTP | change)).events
    assert isinstance(revised, ConnectionRevised)
    assert revised.credentials_dropped is dropped
    assert (scene.state.credentials is None) is dropped


@pytest.mark.parametrize("change", [{"host": "other.example"}, {"port": 6543}, {"tls": False}], ids=str)
def test_a_password_does_not_go_to_another_server(change: dict[str, Any]) -> None:
    opened = ConnectionOpened(name="Plant ERP", kind="sql", upstream=stored(SQL))
    scene = given(connection, opened, GIVEN)
    scene.when(revising(upstream=SQL | change)).then_accepted()
    assert scene.state.credentials is None


def test_replacing_credentials() -> None:
    scene = given(connection, OPENED)
    scene.when(ReplaceCredentials(username="cairn", secret=SECRET)).then(GIVEN)
    scene.when(ReplaceCredentials(username="cairn", secret=SECRET)).then_nothing()
    scene.when(ReplaceCredentials(secret=SECRET)).then(CredentialsReplaced(username="", secret=SECRET))
    with pytest.raises(pydantic.ValidationError):
        ReplaceCredentials(secret="")


def test_a_mapping_counts_its_versions() -> None:
    scene = given(connection, OPENED)
    scene.when(setting(("plan_cost", "USD"))).then(MAPPED)
    scene.when(setting(("plan_cost", "USD"))).then_nothing()
    second = mapping(("actual_cost", "USD")).as_mapping(2)
    scene.when(setting(("actual_cost", "USD"))).then(MappingSet(mapping=second, currency="USD"))
    third = mapping().as_mapping(3)
    scene.when(setting()).then(MappingSet(mapping=third))
    scene.when(setting(("plan_cost", "EUR"))).then_rejected("connection.currency-fixed", currency="USD", asked="EUR")


def test_a_mapping_has_one_currency() -> None:
    mixed = setting(("plan_cost", "USD"), ("actual_cost", "EUR"))
    given(connection, OPENED).when(mixed).then_rejected("connection.currencies-mixed", currencies=["EUR", "USD"])
    kept = {"upstream": "Foreign", "name": "foreign", "type": "money", "unit": "EUR"}
    given(connection, OPENED).when(setting(("plan_cost", "USD"), extra=kept)).then_accepted()


@pytest.mark.parametrize(
    ("mirror", "fixed"),
    [
        (Mirror(), False),
        (Mirror(run=Run(run_id=RUN, mode="full")), False),
        (Mirror(run=Run(run_id=RUN, mode="full", attempt=1)), True),
        (Mirror(synced=True), True),
    ],
    ids=["new", "requested", "running", "synced"],
)
def test_what_identifies_records_stays_once_there_are_some(mirror: Mirror, fixed: bool) -> None:
    other = setting(("plan_cost", "USD"), identity=("Item", "Site"))
    outcome = given(connection, OPENED, MAPPED, beside={MIRROR: mirror}).when(other)
    if fixed:
        outcome.then_rejected("connection.identity-fixed", identity=["Item"])
    else:
        outcome.then_accepted()
    given(connection, OPENED, MAPPED, beside={MIRROR: mirror}).when(setting(("actual_cost", "USD"))).then_accepted()


def test_a_schedule() -> None:
    body = {"schedule": {"cron": " 30 5 * *  mon-fri", "time_zone": "America/Chicago", "jitter_seconds": 60}}
    command = SetSchedule.model_validate_json(json.dumps(body))
    kept = Schedule(cron="30 5 * * MON-FRI", time_zone="America/Chicago", jitter_seconds=60)
    scene = given(connection, OPENED)
    scene.when(command).then(ScheduleSet(was=None, now=kept))
    scene.when(command).then_nothing()
    scene.when(SetSchedule(schedule=None)).then(ScheduleSet(was=kept, now=None))


@pytest.mark.parametrize(
    "fault",
    [
        {"cron": "* * * *"},
        {"cron": "0 * * * * *"},
        {"cron": "61 * * * *"},
        {"cron": "0 0 31 2 *"},
        {"cron": "0 0 * * 5#2"},
        {"cron": "@daily"},
        {"cron": "a b c d e"},
        {"time_zone": "Chicago"},
        {"jitter_seconds": 3601},
        {"full_every": 0},
    ],
    ids=str,
)
def test_a_schedule_that_cannot_be(fault: dict[str, Any]) -> None:
    body = {"schedule": {"cron": "30 5 * * *", "time_zone": "UTC"} | fault}
    with pytest.raises(pydantic.ValidationError) as error:
        SetSchedule.model_validate_json(json.dumps(body))
    assert error.value.errors()[0]["loc"][:2] == ("schedule", *fault)


def test_disabling_cancels_the_run_and_enabling_brings_nothing_back() -> None:
    counts = SyncCounts(inserted=3)
    running = {MIRROR: Mirror(connection_id=SOME_ID, run=Run(run_id=RUN, mode="full", attempt=1, counts=counts))}
    disabling = DisableConnection(reason="it moves")
    disabled = (Ref("connection", SOME_ID), ConnectionDisabled(reason="it moves"))
    cancelled = SyncCancelled(connection_id=SOME_ID, run_id=RUN, reason="it moves", counts=counts)
    scene = given(connection, OPENED, beside=running)
    scene.when(disabling).then_written(disabled, (MIRROR, cancelled))
    scene.when(disabling).then_nothing()
    scene.when(EnableConnection()).then(ConnectionEnabled())
    scene.when(EnableConnection()).then_nothing()
    scene.when(disabling).then(disabled[1])


def test_closing_is_for_good() -> None:
    scene = given(connection, OPENED, MAPPED)
    scene.when(CloseConnection(reason="replaced")).then(ConnectionClosed(reason="replaced"))
    scene.when(CloseConnection(reason="replaced")).then_nothing()
    for command in (
        opening(),
        revising(name="ERP"),
        ReplaceCredentials(secret="x"),
        setting(),
        SetSchedule(schedule=None),
        DisableConnection(reason="x"),
        EnableConnection(),
    ):
        scene.when(command).then_rejected("connection.closed", "conflict")


def test_nothing_else_before_it_is_opened() -> None:
    for command in (
        revising(name="ERP"),
        ReplaceCredentials(secret="x"),
        setting(),
        SetSchedule(schedule=None),
        DisableConnection(reason="x"),
        EnableConnection(),
        CloseConnection(reason="x"),
    ):
        given(connection).when(command).then_rejected("connection.unknown", "missing")


def test_who_may() -> None:
    assert {command.roles for command in connection.commands} == {frozenset({Role.OWNER, Role.ARCHITECT})}


def test_what_is_secret_is_sealed() -> None:
    for event in connection.events:
        assert event.secret_fields <= set(event.sensitive)
    assert Connection().credentials is None
    assert ConnectionEvent is not None
