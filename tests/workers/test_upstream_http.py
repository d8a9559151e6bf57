"""The HTTP kind of upstream: its pages, its limits, what it may not do, and where connections may go."""

import json
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from domain.upstreams import HttpUpstream, upstream_of
from tests.workers.answering import Answering, Asked, Said, answering
from workers.upstreams import egress as guarding
from workers.upstreams.egress import Address, Egress
from workers.upstreams.over_http import HttpKind
from workers.upstreams.upstream import (
    CODES,
    Batch,
    Broken,
    Change,
    Credentials,
    Denied,
    Outcome,
    Scope,
    Unavailable,
    UpstreamError,
)

LOOPBACK = Egress([ip_network("127.0.0.0/8")])
SHOWN = Credentials("me", "secret")
QUICK = {"first_wait_seconds": 0.001, "wait_seconds_max": 2, "attempts_max": 3}
ROWS = [{"id": f"r{n}", "version": n, "name": f"row {n}"} for n in range(1, 8)]


def kind(url: str, *, credentials: Credentials = SHOWN, egress: Egress = LOOPBACK, **other: Any) -> HttpKind:
    limits = QUICK | other.pop("limits", {})
    sent = {"kind": "http", "url": url, "size": 3, "paging": {"by": "cursor"}, "auth": {"by": "nothing"}}
    config = upstream_of(json.dumps(sent | {"limits": limits} | other))
    assert isinstance(config, HttpUpstream)
    return HttpKind(config, credentials, frozenset({"id", "name"}), egress)


def by_cursor(asked: Asked) -> Said:
    start = int(asked.query.get("cursor", "0"))
    following = str(start + 3) if start + 3 < len(ROWS) else None
    return Said({"records": ROWS[start : start + 3], "next_cursor": following, "as_of": 7})


def by_page(asked: Asked) -> Said:
    start = (int(asked.query["page"]) - 1) * 3
    return Said({"records": ROWS[start : start + 3], "pages": 3})


def by_link(asked: Asked) -> Said:
    start = int(asked.query.get("from", "0"))
    link = {"Link": f'</records?from={start + 3}>; rel="next", </records>; rel="first"'} if start + 3 < 7 else {}
    return Said({"records": ROWS[start : start + 3]}, headers=link)


async def everything(upstream: HttpKind, since: str | None = None) -> list[Batch]:
    try:
        return [batch async for batch in upstream.fetch(since)]
    finally:
        await upstream.close()


async def refusal(
    answer: Callable[[Asked], Said], since: str | None = None, **config: Any
) -> tuple[UpstreamError, int]:
    """What fetching raises, and how often the server was asked."""
    with answering(answer) as server:
        with pytest.raises(UpstreamError) as caught:
            await everything(kind(server.url, **config), since)
        assert "secret" not in repr(caught.value.facts)
        return caught.value, len(server.asked)


@pytest.mark.parametrize(
    ("answer", "paging", "requests"),
    [
        (by_cursor, {"by": "cursor"}, 3),
        (by_page, {"by": "page"}, 4),
        (by_page, {"by": "page", "pages_at": "pages"}, 3),
        (by_link, {"by": "link"}, 3),
    ],
)
async def test_each_way_of_paging_gives_every_row_once(
    answer: Callable[[Asked], Said], paging: dict[str, Any], requests: int
) -> None:
    with answering(answer) as server:
        batches = await everything(kind(server.url, paging=paging))
    assert [row for batch in batches for row in batch.rows] == ROWS
    assert [number for batch in batches for number in batch.numbers] == [1, 2, 3, 4, 5, 6, 7]
    assert {batch.scope for batch in batches} == {Scope.FULL}
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert len(server.asked) == requests


@pytest.mark.parametrize(
    ("answer", "paging"), [(by_cursor, {"by": "cursor"}), (by_page, {"by": "page"}), (by_link, {"by": "link"})]
)
async def test_a_fetch_goes_on_after_any_batch(answer: Callable[[Asked], Said], paging: dict[str, Any]) -> None:
    with answering(answer) as server:
        batches = await everything(kind(server.url, paging=paging))
        for place, batch in enumerate(batches[:-1], 1):
            assert await everything(kind(server.url, paging=paging), batch.cursor) == batches[place:]


async def test_the_next_fetch_asks_for_what_came_later() -> None:
    later = [{"id": "r8", "version": 8, "name": "new"}, {"id": "r1", "version": 9, "deleted": True}]
    changes = {"at": "as_of", "parameter": "since", "parameters": {"deleted": "1"}}

    def answer(asked: Asked) -> Said:
        return Said({"records": later, "as_of": 9}) if "since" in asked.query else by_cursor(asked)

    with answering(answer) as server:
        first = await everything(kind(server.url, changes=changes, parameters={"site": "x"}))
        (second,) = await everything(kind(server.url, changes=changes), first[-1].cursor)
        assert server.asked[0].query == {"site": "x", "per_page": "3"}
        assert server.asked[1].query == {"cursor": "3", "per_page": "3"}
        assert server.asked[3].query == {"since": "7", "deleted": "1", "per_page": "3"}
        assert (second.scope, second.rows, second.tombstones) == (Scope.CHANGES, (later[0],), (later[1],))
        later_still = second.cursor.replace('"9"', '"10"')
        with pytest.raises(Broken) as caught:
            await everything(kind(server.url, changes=changes), later_still)
    assert (caught.value.code, caught.value.facts) == ("upstream.went-back", {"stands_at": "9", "stood_at": "10"})


async def test_what_did_not_change_is_not_sent_again() -> None:
    def answer(asked: Asked) -> Said:
        if asked.headers.get("if-none-match") == '"v1"':
            return Said(status=304)
        return Said({"records": ROWS}, headers={"ETag": '"v1"', "Last-Modified": "Sat, 01 Nov 2025 10:00:00 GMT"})

    with answering(answer) as server:
        (first,) = await everything(kind(server.url, conditional=True))
        (again,) = await everything(kind(server.url, conditional=True), first.cursor)
        assert (again.scope, again.rows, again.last) == (Scope.NOTHING, (), True)
        assert server.asked[1].headers["if-modified-since"] == "Sat, 01 Nov 2025 10:00:00 GMT"
        assert (await everything(kind(server.url, conditional=True), again.cursor))[0].scope == Scope.NOTHING


async def test_objects_within_rows_and_exact_numbers() -> None:
    body = b'\xef\xbb\xbf{"data": {"items": [{"id": 1, "name": {"en": "x", "more": {}}, "cost": 0.1}]}}'
    with answering(lambda _: Said(body)) as server:
        upstream = HttpKind(
            kind(server.url, rows_at="data.items")._config, Credentials(), frozenset({"name.en"}), LOOPBACK
        )
        (batch,) = await everything(upstream)
    (row,) = batch.rows
    assert ({**row}, str(row["cost"])) == ({"id": 1, "name.en": "x", "name.more": {}, "cost": row["cost"]}, "0.1")


def failing(times: int, said: Said) -> Callable[[Asked], Said]:
    left = [said] * times
    return lambda asked: left.pop() if left else by_cursor(asked)


@pytest.mark.parametrize(
    "said",
    [
        Said({"error": "?"}, 500),
        Said(status=503, headers={"Retry-After": "0"}),
        Said(status=503, headers={"Retry-After": "Sat, 01 Nov 2025 10:00:00 GMT"}),
        Said({"records": ROWS[:3]}, dropped=True),
    ],
)
async def test_what_passes_is_tried_again(said: Said) -> None:
    with answering(failing(2, said)) as server:
        batches = await everything(kind(server.url))
        assert sum(len(batch.rows) for batch in batches) == 7
        assert len(server.asked) == 5


async def test_what_does_not_pass_is_given_up() -> None:
    error, asked = await refusal(failing(9, Said(status=502)))
    assert (error.code, error.lasting, asked) == ("upstream.failing", False, 3)
    error, asked = await refusal(failing(9, Said({}, dropped=True)))
    assert (error.code, asked) == ("upstream.unreachable", 3)


async def test_a_wait_that_is_asked_for_is_kept_or_handed_on() -> None:
    with answering(failing(1, Said(status=429, headers={"Retry-After": "0.3"}))) as server:
        began = time.monotonic()
        await everything(kind(server.url))
        assert time.monotonic() - began >= 0.3
    error, asked = await refusal(failing(1, Said(status=429, headers={"Retry-After": "3600"})))
    assert isinstance(error, Unavailable)
    assert (error.code, error.retry_after_seconds, asked) == ("upstream.rate-limited", 3600, 1)


async def test_the_last_request_of_a_window_makes_the_next_one_wait() -> None:
    def answer(asked: Asked) -> Said:
        said = by_cursor(asked)
        first = "cursor" not in asked.query
        return Said(said.document, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0.3"} if first else {})

    with answering(answer) as server:
        upstream = kind(server.url)
        times = [time.monotonic() async for _ in upstream.fetch()]
        await upstream.close()
    assert times[1] - times[0] >= 0.25
    error, _ = await refusal(
        lambda asked: Said(by_cursor(asked).document, headers={"RateLimit-Remaining": "0", "RateLimit-Reset": "99"})
    )
    assert error.code == "upstream.rate-limited"


HTML = Said(b"<!doctype html><h1>Back soon</h1>", headers={"Content-Type": "text/html"})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda _: HTML, "html-answered"),
        (lambda _: Said(b"  <html>"), "html-answered"),
        (lambda _: Said(b'{"records": ['), "not-json"),
        (lambda _: Said({"records": {"id": 1}}), "not-json"),
        (lambda _: Said([1]), "not-json"),
        (lambda _: Said({"records": [1]}), "not-json"),
        (lambda _: Said({"records": ROWS, "next_cursor": [1]}), "not-json"),
        (lambda _: Said({"records": [{"id": 1, "title": "x"}]}), "schema-changed"),
        (lambda _: Said({"records": ["x" * 2_000]}), "page-too-large"),
        (lambda _: Said(status=401), "unauthorised"),
        (lambda _: Said(status=404), "refused"),
        (lambda _: Said(status=302, headers={"Location": "http://127.0.0.1:1/"}), "redirected"),
    ],
)  # fmt: skip
async def test_what_an_upstream_may_not_answer(answer: Callable[[Asked], Said], code: str) -> None:
    error, asked = await refusal(answer, limits={"page_bytes_max": 1_000})
    assert (error.code, asked) == (f"upstream.{code}", 1)


async def test_a_column_that_is_gone_is_named() -> None:
    error, _ = await refusal(lambda _: Said({"records": [{"id": 1, "title": "x"}]}))
    assert error.facts == {"missing": ["name"], "found": ["id", "title"]}


async def test_a_listing_that_does_not_end_is_noticed() -> None:
    def same_page(asked: Asked) -> Said:
        return Said({"records": ROWS[:3], "next_cursor": asked.query.get("cursor", "") + "x"})

    def same_cursor(asked: Asked) -> Said:
        number = int(asked.query.get("cursor", "0")) + 1
        return Said({"records": [{"id": number + time.monotonic(), "name": "x"}], "next_cursor": "1"})

    def for_ever(asked: Asked) -> Said:
        number = int(asked.query.get("cursor", "0")) + 1
        return Said({"records": [{"id": number, "name": "x"}], "next_cursor": str(number)})

    error, asked = await refusal(same_page)
    assert (error.code, error.facts, asked) == ("upstream.page-repeated", {"page": 2, "row": 4}, 2)
    assert (await refusal(same_cursor))[0].code == "upstream.page-repeated"
    error, asked = await refusal(for_ever, limits={"pages_max": 20})
    assert (error.code, asked) == ("upstream.too-many-pages", 20)
    with answering(for_ever) as server:
        upstream = kind(server.url, limits={"pages_max": 20})
        async with aclosing(upstream.fetch()) as batches:
            cursor = (await anext(batches)).cursor
        with pytest.raises(Broken, match="too-many-pages"):
            await everything(upstream, cursor)
        assert len(server.asked) == 20


async def test_the_next_page_is_on_the_same_host_or_not_asked_for() -> None:
    elsewhere = Said({"records": ROWS[:3]}, headers={"Link": '<http://127.0.0.2/records>; rel="next"'})
    error, asked = await refusal(lambda _: elsewhere, paging={"by": "link"})
    assert (error.code, asked) == ("upstream.redirected", 1)


async def test_a_cursor_of_something_else_is_refused() -> None:
    for cursor in ['{"type": "folder"}', "[]", "page 3", "{}", '{"of": "http", "next": 1}']:
        error, asked = await refusal(by_cursor, cursor)
        assert (error.code, asked) == ("upstream.cursor-unknown", 0)


async def test_credentials_are_shown_as_configured() -> None:
    issued: list[str] = []

    def answer(asked: Asked) -> Said:
        if asked.path == "/token":
            assert asked.headers["authorization"] == "Basic bWUlM0FhOnNlY3JldCUyQg=="  # me%3Aa:secret%2B
            assert asked.body == b"grant_type=client_credentials&scope=read"
            issued.append(f"t{len(issued) + 1}")
            return Said({"access_token": issued[-1], "token_type": "Bearer", "expires_in": 300})
        admitted = asked.headers.get("authorization") == f"Bearer {issued[-1]}"
        return by_cursor(asked) if admitted else Said(status=401)

    with answering(answer) as server:
        how = {"by": "oauth2", "token_url": f"{server.url}/token", "scope": "read"}
        upstream = kind(server.url, auth=how, credentials=Credentials("me:a", "secret+"))
        seen = 0
        async for batch in upstream.fetch():
            seen += len(batch.rows)
            if seen == 3:
                issued.append("revoked t1")
        await upstream.close()
        assert (seen, issued) == (7, ["t1", "revoked t1", "t3"])

    with answering(by_cursor) as server:
        await everything(kind(server.url, auth={"by": "basic"}))
        await everything(kind(server.url, auth={"by": "api-key", "header": "X-Key"}))
        assert server.asked[0].headers["authorization"] == "Basic bWU6c2VjcmV0"
        assert server.asked[3].headers["x-key"] == "secret"
    assert "secret" not in repr(Credentials("me", "secret"))


def changes(count: int) -> list[Change]:
    return [
        Change(record=f"ours {n}", identity={"id": f"r{n}"}, version=str(n), fields={"name": "new"})
        for n in range(1, count + 1)
    ]


async def pushed(server: Answering, count: int, **config: Any) -> Any:
    upstream = kind(server.url, push={"path": "/changes"} | config)
    try:
        return await upstream.push(changes(count), "key")
    finally:
        await upstream.close()


async def test_every_change_gets_a_result_even_if_the_upstream_gives_fewer() -> None:
    current = {"id": "r2", "version": 5, "name": "theirs"}
    results = [
        {"id": "r3", "status": "refused", "reason": {"code": "closed", "text": "The phase is complete."}},
        {"id": "r2", "status": "conflict", "version": 5, "current": current},
        {"id": "r1", "status": "confirmed", "record": {"id": "r1", "version": 6, "name": "new"}},
        {"id": "r9", "status": "confirmed"},
        {"id": "r5", "status": "maybe"},
        "?",
    ]
    with answering(failing(0, Said())) as _, answering(lambda _: Said({"results": results})) as server:
        found = await pushed(server, 5)
    assert [(each.record, each.outcome, each.version, each.theirs, each.reason) for each in found] == [
        ("ours 1", Outcome.CONFIRMED, "6", {"id": "r1", "version": 6, "name": "new"}, None),
        ("ours 2", Outcome.CONFLICT, "5", current, None),
        ("ours 3", Outcome.REFUSED, None, None, "The phase is complete."),
        ("ours 4", Outcome.UNKNOWN, None, None, None),
        ("ours 5", Outcome.UNKNOWN, None, None, None),
    ]


async def test_a_push_is_repeated_under_its_key_and_cut_the_same_way_each_time() -> None:
    def answer(asked: Asked) -> Said:
        if len(server.asked) == 1:
            return Said(status=500)
        sent = json.loads(asked.body)["changes"]
        return Said({"results": [{"id": each["id"], "status": "confirmed"} for each in sent]})

    with answering(answer) as server:
        found = await pushed(server, 5, batch_max=2)
        assert [each.outcome for each in found] == [Outcome.CONFIRMED] * 5
        assert [asked.headers["idempotency-key"] for asked in server.asked] == ["key-0", "key-0", "key-2", "key-4"]
        assert json.loads(server.asked[0].body)["changes"][0] == {"id": "r1", "version": 1, "fields": {"name": "new"}}


async def test_an_upstream_without_a_place_for_changes_says_so() -> None:
    upstream = kind("https://erp.example")
    assert not upstream.pushes
    with pytest.raises(Denied, match="not-supported"):
        await upstream.push(changes(1), "key")
    await upstream.close()


REFUSED = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1", "192.0.0.192",
    "2001:0:7f00:1::", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not Egress().permits(ip_address(address))
    everywhere = Egress([ip_network("0.0.0.0/0"), ip_network("::/0")])
    assert everywhere.permits(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert Egress().permits(ip_address(address))


@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://localhost", "https://[::1]", "https://169.254.169.254"])
async def test_an_address_that_is_not_allowed_is_not_connected_to(url: str) -> None:
    with answering(by_cursor) as server:
        port = server.url.rpartition(":")[2]
        with pytest.raises(Denied, match="address-refused"):
            await everything(kind(f"{url}:{port}", egress=Egress()))
        assert server.asked == []


async def test_only_https_leaves_the_operators_networks() -> None:
    with pytest.raises(Denied, match="only https"):
        await everything(kind("http://8.8.8.8", egress=Egress()))


async def test_the_address_that_was_judged_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name resolves to one address while it is judged and to another one afterwards."""
    answers: list[list[Address]] = [[ip_address("127.0.0.1")], [ip_address("127.0.0.9")]]

    async def rebinding(host: str, port: int) -> list[Address]:
        assert (host, port) == ("erp.example", int(server.url.rpartition(":")[2]))
        return answers.pop(0)

    monkeypatch.setattr(guarding, "_asked", rebinding)
    egress = Egress([ip_network("127.0.0.1/32")])
    with answering(by_cursor) as server:
        upstream = kind(server.url.replace("127.0.0.1", "erp.example"), egress=egress)
        async with aclosing(upstream.fetch()) as batches:
            assert len((await anext(batches)).rows) == 3
            assert server.asked[0].headers["host"].startswith("erp.example:")
            with pytest.raises(Denied, match=r"127\.0\.0\.9"):
                await anext(batches)
        await upstream.close()
        assert len(server.asked) == 1


async def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(_host: str, _port: int) -> list[Address]:
        return [ip_address("127.0.0.9"), ip_address("127.0.0.1")]

    monkeypatch.setattr(guarding, "_asked", two)
    with answering(by_cursor) as server:
        upstream = kind(server.url.replace("127.0.0.1", "erp.example"))
        assert sum(len(batch.rows) for batch in await everything(upstream)) == 7


async def test_tls_is_not_waived() -> None:
    with answering(by_cursor) as server, pytest.raises(UpstreamError) as caught:
        await everything(kind(server.url.replace("http://", "https://")))
    assert caught.value.code == "upstream.tls-refused"


def certified(folder: Path, name: str) -> Path:
    """A PEM file of a key and the certificate that it gave itself for the name."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(pem) + written)
    return path


async def test_certificates_are_verified_for_the_name_though_an_address_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def here(_host: str, _port: int) -> list[Address]:
        return [ip_address("127.0.0.1")]

    monkeypatch.setattr(guarding, "_asked", here)
    certificate = certified(tmp_path, "erp.example")
    networks = [ip_network("127.0.0.0/8")]
    with answering(by_cursor, certificate) as server:
        named = server.url.replace("127.0.0.1", "erp.example")
        batches = await everything(kind(named, egress=Egress(networks, authorities=certificate)))
        assert sum(len(batch.rows) for batch in batches) == 7
        other = server.url.replace("127.0.0.1", "other.example")
        with pytest.raises(Denied, match="tls-refused"):
            await everything(kind(other, egress=Egress(networks, authorities=certificate)))
        with pytest.raises(Denied, match="tls-refused"):
            await everything(kind(named, egress=Egress(networks)))
        assert len(server.asked) == 3


async def test_nobody_there_and_a_name_that_does_not_resolve_are_unreachable() -> None:
    for url in ["http://127.0.0.1:1", "https://name.invalid"]:
        with pytest.raises(Unavailable, match="unreachable"):
            await everything(kind(url))


def test_every_code_is_described() -> None:
    assert all(code.startswith("upstream.") and text.endswith((".", "due.")) for code, text in CODES.items())
