"""`cairn keys`: what is listed, wrapping anew while all goes on, and erasing with a question first."""

from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from api.settings import ApiSettings
from cairn import doctor, keys
from cairn.cli import cairn
from cairn.embedded import Servers
from domain.decider import Command, Role
from domain.membership import AddMember, ForgetMember, RemoveMember
from domain.registry import BY_CATEGORY
from eventstore.db import Database, role_url
from eventstore.keyring import keyring_of, minted
from eventstore.settings import SettingsError, StoreSettings
from eventstore.transact import Context, Store, transact
from tests import keys as test_keys
from tests.api.callers import OPERATOR_SECRET, database_of, problem, register, serving
from tests.cairn.conftest import COMPANY

ADA = UUID(int=2)
WITH_TESTS_KEY = ApiSettings(kek=test_keys.KEK)
PEOPLE: tuple[Command, ...] = (
    AddMember(name="Ada Winters", email="ada@northern.example", role=Role.ESTIMATOR),
    RemoveMember(),
    ForgetMember(reason="requested"),
)


async def sent(settings: StoreSettings, *commands: Command) -> None:
    """Commands about Ada, by a store without read models: nobody takes her address, or destroys her key."""
    assert settings.database_url is not None
    conninfo = role_url(settings.database_url, "cairn_writer", urlsplit(settings.database_url).password)
    store = Store(Database(conninfo, name="writer"), settings, vault=test_keys.vault())
    await store.open()
    for command in commands:
        context = Context(tenant=COMPANY, actor=UUID(int=0), command_id=uuid4(), request_hash=bytes(8))
        await transact(store, BY_CATEGORY["membership"], ADA, command, context)
    await store.close()


async def test_wrapping_anew(settings: StoreSettings) -> None:
    await sent(settings, *PEOPLE[:1])
    old, new = keyring_of(test_keys.KEK, None).newest, minted()
    ((company, kek, number, _, subjects, erased),) = await keys.listed(settings)
    assert (company, kek, number, subjects, erased) == (COMPANY, old, 1, 2, 0)
    both = ApiSettings(kek=f"{new},{test_keys.KEK}")
    assert await keys.rewrapped(settings, both) == [(COMPANY, 2)]
    ((_, kek, number, _, subjects, _),) = await keys.listed(settings)
    assert (kek, number, subjects) == (keyring_of(new, None).newest, 2, 2)
    await keys.check(settings, replace(WITH_TESTS_KEY, kek=new))
    with pytest.raises(SettingsError, match=str(kek)):
        await keys.check(settings, WITH_TESTS_KEY)


async def test_a_key_that_came_back_is_found_and_destroyed(settings: StoreSettings) -> None:
    await sent(settings, *PEOPLE)
    (finding,) = [each for each in await doctor.examine(settings, ApiSettings()) if each.check == "erasure"]
    assert not finding.good
    assert str(ADA) in finding.seen
    await keys.rewrapped(settings, WITH_TESTS_KEY)
    (finding,) = [each for each in await doctor.examine(settings, ApiSettings()) if each.check == "erasure"]
    assert finding.good
    assert [row[-2:] for row in await keys.listed(settings)] == [(1, 1)]


def test_a_new_key_is_one() -> None:
    shown = CliRunner().invoke(cairn, ["keys", "new"], catch_exceptions=False)
    assert len(keyring_of(shown.output.strip(), None).known) == 1


def test_erasing_asks_first(servers: Servers, template_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database_of(servers, template_database) as url, serving(url, servers.nats_url, projecting=False) as world:
        company = register(world)
        _, member, _ = company.new_member(Role.VIEWER)
        monkeypatch.setenv("CAIRN_URL", world.url)
        monkeypatch.setenv("CAIRN_TOKEN", f"cairn_operator_{OPERATOR_SECRET}")
        asked = ["keys", "erase", "--company", str(company.id), "--subject", str(member), "--reason", "requested"]
        refused = CliRunner().invoke(cairn, asked, input="y\n")
        assert refused.exit_code == 1
        assert "membership.present" in refused.output
        company.operator.done("membership", member, "remove-member")
        declined = CliRunner().invoke(cairn, asked, input="n\n")
        assert "There is no way back" in declined.output
        forgetting = {"reason": "requested"}
        done = CliRunner().invoke(cairn, [*asked, "--yes"], catch_exceptions=False)
        assert (done.exit_code, done.output) == (0, "erased\n")
        answer = company.operator.command("membership", member, "forget-member", forgetting)
        assert answer.json()["first_position"] is None  # nothing is left to do
        problem(
            company.operator.command("membership", member, "forget-member", {"reason": "why"}),
            422,
            "request.body-invalid",
        )
