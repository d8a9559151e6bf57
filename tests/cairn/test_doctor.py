"""`cairn doctor` finds what is wrong, names it, and says how to mend it."""

from collections.abc import Callable

import psycopg
import pytest

from api.settings import ApiSettings
from cairn import doctor
from eventstore.settings import StoreSettings
from migrations import run as migrations


async def _bad(settings: StoreSettings) -> dict[str, doctor.Finding]:
    """What is not good, but for the servers and workers that don't run here."""
    findings = await doctor.examine(settings, ApiSettings())
    assert all(finding.remedy for finding in findings if not finding.good)
    elsewhere = {"NATS", "workers", "delivery"}  # no projector follows in this test
    return {finding.check: finding for finding in findings if not finding.good and finding.check not in elsewhere}


async def test_a_sound_system_has_nothing(settings: StoreSettings) -> None:
    assert await _bad(settings) == {}


async def test_a_broker_that_is_not_there_is_named(settings: StoreSettings) -> None:
    findings = {finding.check: finding for finding in await doctor.examine(settings, ApiSettings())}
    assert not findings["NATS"].good
    assert not findings["workers"].good
    assert "no projector is alive" in findings["workers"].seen
    assert "no simulator is alive" in findings["workers"].seen
    assert "no syncer is alive" in findings["workers"].seen


async def test_a_broker_that_runs_is_greeted(settings: StoreSettings, nats_url: str) -> None:
    found = StoreSettings(
        database_url=settings.database_url,
        database_role_password=settings.database_role_password,
        nats_url=nats_url,
    )
    findings = {finding.check: finding for finding in await doctor.examine(found, ApiSettings())}
    assert "JetStream on" in findings["NATS"].seen


BREAKAGES: dict[str, tuple[str, str]] = {
    "row-level security": ("alter table cairn.events no force row level security", "cairn.events"),
    "log privileges": ("grant insert on cairn.events to cairn_reader", "cairn_reader: INSERT on cairn.events"),
    "append-only": ("alter table cairn.events disable trigger append_only", "cairn.events"),
    "leaf hashes": (
        "alter table cairn.events disable trigger append_only;"
        "update cairn.events set payload = convert_to(convert_from(payload, 'UTF8') || ' ', 'UTF8');"
        "alter table cairn.events enable trigger append_only",
        " at 1",
    ),
    "events": (
        "alter table cairn.events disable trigger append_only;"
        "update cairn.events set type = 'project.unheard-of' where position = 1;"
        "alter table cairn.events enable trigger append_only",
        "project.unheard-of",
    ),
    "log": (
        "alter table cairn.events disable trigger append_only; delete from cairn.events;"
        "alter table cairn.events enable trigger append_only",
        "head 5, 0 events",
    ),
}


ALSO = {"events": {"leaf hashes"}}
"""What else a breakage is bound to be seen as."""


@pytest.mark.parametrize("check", sorted(BREAKAGES))
async def test_what_is_broken_is_found(settings: StoreSettings, check: str) -> None:
    statement, words = BREAKAGES[check]
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(statement.encode())
    bad = await _bad(settings)
    assert set(bad) == {check} | ALSO.get(check, set())
    assert words in bad[check].seen


@pytest.mark.parametrize(
    ("mangle", "seen"),
    [
        (lambda url: migrations.downgrade(url, "0001"), "revision 0001"),
        (lambda url: migrations.downgrade(url, "base"), "revision none"),
    ],
)
async def test_a_schema_of_another_time_is_named(
    settings: StoreSettings, mangle: Callable[[str], None], seen: str
) -> None:
    assert settings.database_url is not None
    mangle(settings.database_url)
    bad = await _bad(settings)
    assert seen in bad["schema"].seen
    assert bad["schema"].remedy == "Run `cairn migrate`."
