"""A server on a loopback port with PostgreSQL, NATS and a projector behind it, and those who call it."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psycopg
import uvloop
from psycopg import sql

from api.app import SIDES
from api.identity import mint
from api.server import serve
from api.settings import ApiSettings
from cairn.embedded import Servers
from domain.decider import Role
from eventstore.db import Database, role_url
from eventstore.settings import StoreSettings
from eventstore.wire import Broker, Hints
from projections.follower import Follower
from projections.settings import EngineSettings
from tests import keys

OPERATOR_SECRET = "operator-secret-of-the-tests"
SETTINGS = ApiSettings(
    api_port=0,
    kek=keys.KEK,
    operator_token_hash=hashlib.sha256(OPERATOR_SECRET.encode()).hexdigest(),
    api_stream_heartbeat_seconds=0.2,
    api_standstill_seconds_max=5,
)
EXPIRY = "2099-12-31T23:59:59Z"


@dataclass
class World:
    """A running server: its URL, its database, and how to ask it."""

    url: str
    database_url: str
    nats_url: str
    http: httpx.Client

    def get(self, path: str, **headers: str) -> httpx.Response:
        """An answer to nobody in particular."""
        return self.http.get(self.url + path, headers=headers)


@dataclass
class Caller:
    """Somebody with a token."""

    world: World
    headers: dict[str, str]

    def get(self, path: str, **options: Any) -> httpx.Response:
        """A query's answer."""
        headers = self.headers | options.pop("headers", {})
        return self.world.http.get(self.world.url + path, headers=headers, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """What a POST is answered; a command id is made where none is given."""
        headers = self.headers | {"Idempotency-Key": str(uuid4())} | options.pop("headers", {})
        return self.world.http.post(self.world.url + path, headers=headers, **options)

    def command(self, thing: str, id_: UUID, verb: str, body: object = None, **headers: str) -> httpx.Response:
        """What a command is answered."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.post(f"/commands/{thing}/{id_}/{verb}", json={} if body is None else body, headers=named)

    def done(self, thing: str, id_: UUID, verb: str, body: object = None) -> httpx.Response:
        """The receipt of a command that must succeed."""
        answer = self.command(thing, id_, verb, body)
        assert answer.status_code in {200, 201, 202}, answer.text
        return answer

    def seen(self, receipt: httpx.Response, path: str) -> httpx.Response:
        """A query's answer that is at least as new as a receipt."""
        answer = self.get(path, headers={"Cairn-After": receipt.headers["Cairn-Token"]})
        assert answer.status_code == 200, answer.text
        return answer


@dataclass
class Company:
    """A registered company, and members of any role as they are needed."""

    world: World
    id: UUID
    operator: Caller
    _members: dict[Role, Caller] = field(default_factory=dict)

    def member(self, role: Role) -> Caller:
        """A member of this role."""
        if role not in self._members:
            self._members[role] = self.new_member(role)[0]
        return self._members[role]

    def new_member(self, role: Role, expires_at: str = EXPIRY) -> tuple[Caller, UUID, UUID]:
        """One more member of this role with a token: the caller, the member's id, the token's."""
        member_id, token_id = uuid4(), uuid4()
        token, secret_hash = mint(self.id)
        named = {"name": role.title(), "email": f"{member_id}@company.example", "role": role}
        self.operator.done("membership", member_id, "add-member", named)
        issued = {"token_id": str(token_id), "secret_hash": secret_hash, "label": "tests", "expires_at": expires_at}
        self.operator.done("membership", member_id, "issue-token", issued)
        return Caller(self.world, {"Authorization": f"Bearer {token}"}), member_id, token_id

    @property
    def owner(self) -> Caller:
        return self.member(Role.OWNER)

    @property
    def estimator(self) -> Caller:
        return self.member(Role.ESTIMATOR)

    @property
    def viewer(self) -> Caller:
        return self.member(Role.VIEWER)

    @property
    def auditor(self) -> Caller:
        return self.member(Role.AUDITOR)

    def head(self) -> int:
        """How far the company's log goes."""
        return int(self.operator.get("/log?limit=1").headers["Cairn-Position"])

    def project(self, name: str | None = None) -> UUID:
        """A new project."""
        id_ = uuid4()
        self.estimator.done("project", id_, "create-project", {"name": name or f"Project {id_}"})
        return id_

    def estimate(self, project_id: UUID | None = None) -> UUID:
        """A new, empty estimate."""
        id_ = uuid4()
        body = {"project_id": str(project_id or self.project()), "currency": "USD"}
        self.estimator.done("estimate", id_, "start-estimate", body)
        return id_


def line(**changed: object) -> dict[str, object]:
    """A line of 7.00, with what a test wants otherwise."""
    usual = {
        "line_id": str(uuid4()),
        "wbs_path": ["Roadway", "Removals"],
        "description": "Remove pavement",
        "quantity": "2",
        "unit": "SY",
        "unit_price": "3.5",
    }
    return usual | changed


@contextmanager
def database_of(servers: Servers, template: str) -> Iterator[str]:
    """A copy of the migrated database, for several tests."""
    name = f"t_{uuid4().hex}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {name} template {template}").format(**names))
        connection.execute(sql.SQL("grant create on database {name} to cairn_projector").format(**names))
        try:
            yield urlsplit(servers.database_url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("drop database {name} with (force)").format(**names))


@asynccontextmanager
async def _projector(store: StoreSettings, *, projecting: bool) -> AsyncIterator[None]:
    """The read models, ready to be queried; brought up to date all the while if `projecting`."""
    async with AsyncExitStack() as opened:
        database = Database(
            role_url(store.database_url or "", "cairn_projector", store.database_role_password),
            name="projector",
            connections_max=4,
        )
        await database.open()
        opened.push_async_callback(database.close)
        broker = Broker(store.nats_url or "", name="projector")
        await broker.open()
        opened.push_async_callback(broker.close)
        assert await broker.wait_connected(10)
        hints = Hints(broker)
        follower = Follower(database, EngineSettings(), committed=hints.view_moved)
        await follower.engine.prepare()
        ending = asyncio.Event()
        if projecting:
            await hints.follow_log(follower.hint)
            running = asyncio.create_task(follower.run(ending))
            await follower.wait_ready()
        yield
        if projecting:
            ending.set()
            await running


@contextmanager
def serving(
    database_url: str, nats_url: str, settings: ApiSettings = SETTINGS, *, projecting: bool = True
) -> Iterator[World]:
    """A server in a thread of its own, from its first answer to its orderly end."""
    store = StoreSettings(
        database_url=database_url, nats_url=nats_url, database_role_password=urlsplit(database_url).password
    )
    listening = threading.Event()
    told: list[Any] = []
    failed: list[BaseException] = []

    async def main() -> None:
        stop = asyncio.Event()

        def ready(url: str) -> None:
            told.extend((url, asyncio.get_running_loop(), stop))
            listening.set()

        async with _projector(store, projecting=projecting):
            await serve(store, settings, SIDES, ready=ready, stop=stop)

    def run() -> None:
        try:
            uvloop.run(main())
        except BaseException as error:  # told below, in the thread that waits
            failed.append(error)
        finally:
            listening.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert listening.wait(60)
    if failed:
        raise failed[0]
    url, loop, stop = told
    try:
        with httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=4, keepalive_expiry=2)) as http:
            yield World(url, database_url, nats_url, http)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
    if failed:
        raise failed[0]


def register(world: World) -> Company:
    """A new company."""
    id_ = uuid4()
    headers = {"Authorization": f"Bearer cairn_operator_{OPERATOR_SECRET}", "Cairn-Company": str(id_)}
    company = Company(world, id_, Caller(world, headers))
    company.operator.done(
        "company", id_, "register-company", {"name": "Northern Paving", "tier": "standard", "currency": "USD"}
    )
    return company


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which must be this one."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"/problems/{code}"
    assert document["status"] == status
    assert document["title"]
    assert "Traceback" not in answer.text
    return document
