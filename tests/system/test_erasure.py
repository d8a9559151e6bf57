"""Nothing in the data folder tells who a member was: neither database nor write-ahead log, broker or log file."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx

from tests.running import ROOT, Up

PLAIN = "canaryproject"
SECRET = ("canaryname", "canarymail", "canaryagent")


def found(folder: Path) -> set[str]:
    """Which of the words are in any file, as they are or in hexadecimal."""
    words = {word: re.compile(word.encode() + b"|" + word.encode().hex().encode()) for word in (PLAIN, *SECRET)}
    seen = set()
    for path in folder.rglob("*"):
        if path.is_file():
            body = path.read_bytes()
            seen |= {word for word, pattern in words.items() if pattern.search(body)}
    return seen


def test_no_file_tells_who_a_member_was(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    system = Up(folder, "--no-demo")
    url = system.until_up()
    assert (folder / "kek").stat().st_mode & 0o777 == 0o600
    company, member, owner = uuid4(), uuid4(), uuid4()
    headers = {"Authorization": f"Bearer {(folder / 'operator-token').read_text()}", "Cairn-Company": str(company)}
    with httpx.Client(base_url=url, headers=headers | {"User-Agent": SECRET[2]}, timeout=30) as http:

        def send(aggregate: str, id_: object, verb: str, **body: object) -> str:
            path = f"/commands/{aggregate}/{id_}/{verb}"
            answer = http.post(path, json=body, headers={"Idempotency-Key": str(uuid4())})
            assert answer.status_code == 201, answer.text
            return answer.headers["Cairn-Token"]

        send("company", company, "register-company", name="Northern Paving", tier="standard", currency="USD")
        send("membership", owner, "add-member", name="Ada", email="ada@northern.example", role="owner")
        send("membership", member, "add-member", name=SECRET[0], email=f"{SECRET[1]}@north.example", role="estimator")
        token = send("project", uuid4(), "create-project", name=PLAIN)
        told = http.get("/activity", headers={"Cairn-After": token}).text
        assert all(word in told for word in (PLAIN, *SECRET))  # whoever may see it does
        assert found(folder) == {PLAIN}
        send("membership", member, "remove-member")
        token = send("membership", member, "forget-member", reason="requested")
        told = http.get("/activity", headers={"Cairn-After": token}).text
        assert [word in told for word in SECRET] == [False, False, True]  # the agent was the operator's
    assert system.end() == 0
    assert found(folder) == {PLAIN}
    kek = (folder / "kek").read_text()
    assert not any(kek in text for text in system.lines)


def test_it_does_not_start_with_a_key_that_is_not_the_companies(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = Up(folder)
    first.until_up()
    first.end()
    (folder / "kek").unlink()
    second = Up(folder)
    second.until("not among the key-encryption keys given")
    assert second.process.wait(60) == 78


def test_real_servers_are_given_a_key(tmp_path: Path) -> None:
    settings = {"CAIRN_DATABASE_URL": "postgresql:///none", "CAIRN_NATS_URL": "nats://127.0.0.1:9"}
    system = Up(tmp_path / "data", settings=settings)
    system.until("Neither CAIRN_KEK nor CAIRN_KEK_FILE is set")
    assert system.process.wait(60) == 78


KEPT = ("canaryfirst", "canarysecond", "canaryrefused")
"""Secrets that are given, that replace them, and that are refused."""
SEALED = re.compile(r"sealed:1:[A-Za-z0-9_-]+")


def spelled(word: str) -> list[str]:
    """A word, and how it would stand in something that is written in base64, from whatever offset."""
    shifts = [base64.b64encode(b" " * before + word.encode())[(before + 2) * 4 // 3 : -4] for before in range(3)]
    return [word, word.encode().hex(), *(shift.decode() for shift in shifts)]


class Told:
    """What a system that runs answers whoever may ask anything, kept as text."""

    def __init__(self, url: str, folder: Path) -> None:
        self.answers: list[str] = []
        self.company = uuid4()
        token = (folder / "operator-token").read_text()
        headers = {"Authorization": f"Bearer {token}", "Cairn-Company": str(self.company)}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=30)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
        self._environment = kept | {"CAIRN_DATA_FOLDER": str(folder)}

    def send(self, aggregate: str, id_: object, verb: str, *, key: str = "", status: int = 201, **body: object) -> str:
        """A command; the token of its answer."""
        path = f"/commands/{aggregate}/{id_}/{verb}"
        answer = self.http.post(path, json=body, headers={"Idempotency-Key": key or str(uuid4())})
        assert answer.status_code == status, answer.text
        self.answers.append(answer.text)
        return str(answer.headers.get("Cairn-Token", ""))

    def get(self, path: str, token: str) -> str:
        """A query."""
        answer = self.http.get(path, headers={"Cairn-After": token})
        assert answer.status_code == 200, answer.text
        self.answers.append(answer.text)
        return answer.text

    def stream(self, word: str, count: int) -> None:
        """The stream of events, up to the one that has the word for the `count`th time."""
        with self.http.stream("GET", "/stream?after=0") as streaming:
            self.answers += lines_until(streaming.iter_lines(), word, count)

    def run(self, *command: str) -> None:
        """What `cairn` prints."""
        asked = [sys.executable, "-m", "cairn", *command, "--company", str(self.company)]
        ran = subprocess.run(
            asked, env=self._environment, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
        )
        self.answers.append(ran.stdout + ran.stderr)


def give_secrets(told: Told, connection: UUID) -> str:
    """Secrets that are taken, and some that are refused, in every way; the token of the last one taken."""
    told.send("company", told.company, "register-company", name=PLAIN, tier="standard", currency="USD")
    upstream = {"kind": "folder", "folder": "exports"}
    credentials = {"username": "cairn", "secret": KEPT[0]}
    told.send("connection", connection, "open-connection", name="ERP", upstream=upstream, credentials=credentials)
    key, replace, refused = str(uuid4()), ("connection", connection, "replace-credentials"), KEPT[2]
    token = told.send(*replace, key=key, secret=KEPT[1])
    told.send(*replace, key=key, status=422, secret=refused)
    told.send(*replace, status=422, secret=[refused])
    told.send(*replace, status=422, secret=refused + "\0")
    told.send(*replace, status=422, secret=refused, username=7)
    other = credentials | {"secret": refused}
    told.send("connection", connection, "open-connection", status=409, name="E", upstream=upstream, credentials=other)
    told.send("connection", uuid4(), "replace-credentials", status=404, secret=refused)
    item = {"command_id": key, "aggregate": "connection", "id": str(connection), "verb": "replace-credentials"}
    told.answers.append(told.http.post("/commands", json=[item | {"body": {"secret": refused, "more": refused}}]).text)
    told.get(f"/receipts/{key}", token)
    return token


def test_nothing_shows_the_secret_of_a_connection(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    system = Up(folder, "--no-demo")
    told = Told(system.until_up(), folder)
    token = give_secrets(told, uuid4())
    for path in ("/log", "/activity"):
        assert '"secret":"[secret]"' in told.get(path, token)
    for path in (*(f"/log/{position}" for position in range(1, 5)), "/metrics"):
        told.get(path, token)
    told.stream("connection.credentials-replaced", 2)
    told.run("tail", "--after", "0", "--count", "4")
    told.run("replay", "activity_log")
    told.http.close()
    assert system.end() == 0
    everything = "\n".join([*told.answers, *system.lines])
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for word in (text for secret in KEPT for text in spelled(secret)):
        assert word not in everything
        assert not [path for path, body in files.items() if word.encode() in body]
    assert PLAIN in everything
    assert found(folder) == {PLAIN}
    assert not SEALED.search(everything)  # whoever keeps a copy keeps nothing of it: neither here nor of the broker's
    published = b"".join(body for path, body in files.items() if "jetstream" in path.parts)
    assert b"connection.credentials-replaced" in published
    assert b"sealed:" not in published


def lines_until(lines: Iterator[str], word: str, count: int) -> Iterator[str]:
    """Lines, up to and with the data of the event that has the word for the `count`th time."""
    for line in lines:
        yield line
        count -= line.startswith("data:") and word in line
        if not count:
            return
