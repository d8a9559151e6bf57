"""Nothing in the data folder tells who a member was: neither database nor write-ahead log, broker or log file."""

import re
from pathlib import Path
from uuid import uuid4

import httpx

from tests.running import Up

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
