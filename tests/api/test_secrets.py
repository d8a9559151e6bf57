"""What an upstream is signed in with is in no answer, whoever asks for whatever there is."""

import base64
from uuid import UUID

import pytest

from domain.decider import Role
from domain.drafts_events import drafts_of
from domain.mirror_events import mirror_of
from tests.api.callers import Caller, Company, World, register
from tests.api.mirrors import CANARY, Sync, connected, record, record_id
from tests.api.test_changesets import Commit
from tests.api.test_records import Person
from tests.api.test_routes import LISTING

GETS = [
    line.split()[1] for line in LISTING.read_text().splitlines() if line.startswith("GET") and "/stream" not in line
]
SPELLINGS = (CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("="), CANARY.encode().hex())


@pytest.fixture(scope="module")
def busy(world: World) -> tuple[Company, dict[str, list[str]], int]:
    """A company with a connection that was synced, drafted on and committed to; ids by the place they fit in paths."""
    company = register(world)
    connection = connected(company)
    company.owner.done("connection", connection, "replace-credentials", {"username": "cairn", "secret": CANARY + "-2"})
    sync = Sync(company, connection)
    sync.begin()
    sync.record(1, inserted=[record(connection, 0, category="Crane")])
    company.viewer.seen(sync.finish(processed=1, inserted=1), f"/connections/{connection}/records")
    person = Person(company, connection)
    person.save((0, {"area": "B"}))
    commit = Commit(company, person)
    company.owner.seen(commit.opened, f"/changesets/{commit.id}")
    mirror, drafts = mirror_of(connection), drafts_of(person.id, connection)
    places = {
        "id": [str(each) for each in (connection, commit.id, mirror, drafts)],
        "run_id": [str(sync.run_id)],
        "record_id": [str(record_id(connection, 0))],
    }
    return company, places, company.head()


def filled(path: str, places: dict[str, list[str]]) -> list[str]:
    """The path with every id in its places that there is."""
    found = [path]
    for place, ids in places.items():
        found = [each.replace(f"{{{place}}}", id_) for each in found for id_ in ids]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("path", GETS)
def test_no_answer_has_a_secret(busy: tuple[Company, dict[str, list[str]], int], path: str) -> None:
    company, places, head = busy
    callers: list[Caller] = [
        company.operator,
        company.owner,
        company.member(Role.AUDITOR),
        company.member(Role.SERVICE),
    ]
    positions = (
        [path.replace("{position}", str(each)) for each in range(1, head + 1)] if "{position}" in path else [path]
    )
    for asked in [each for one in positions for each in filled(one, places)]:
        for caller in callers:
            answer = caller.get(asked)
            assert not any(each in answer.text for each in SPELLINGS), asked
            if path.startswith("/log/"):
                stored = base64.b64decode(answer.json()["payload_base64"])
                assert CANARY.encode() not in stored


def test_the_stream_has_no_secret(busy: tuple[Company, dict[str, list[str]], int]) -> None:
    company, _, head = busy
    for caller in (company.operator, company.owner, company.member(Role.SERVICE)):
        with caller.world.http.stream("GET", caller.world.url + "/stream?after=0", headers=caller.headers) as stream:
            for said in stream.iter_lines():
                assert not any(each in said for each in SPELLINGS)
                if said.startswith("id: ") and int(said.rpartition(".")[2]) >= head:
                    break


def test_a_refused_command_does_not_repeat_its_secret(busy: tuple[Company, dict[str, list[str]], int]) -> None:
    company, places, _ = busy
    connection = UUID(places["id"][0])
    for body in ({"secret": CANARY, "user": "a"}, {"secret": [CANARY]}, {"username": "\n" + CANARY, "secret": CANARY}):
        answer = company.owner.command("connection", connection, "replace-credentials", body)
        assert answer.status_code == 422
        assert CANARY not in answer.text
