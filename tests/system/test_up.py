"""`cairn up`, as people run it: starts, serves, shows the tour, mends itself, and leaves nothing behind."""

import json
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cairn.test_samples import PUBLISHED
from tests.running import OURS, ROOT, Up, left_over

MEMORY_BYTES_MAX = 350 * 1024 * 1024
WORKERS_BYTES_MAX = 250 * 1024 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A system with the sample loaded, shared by the tests that only look at it."""
    system = Up(tmp_path_factory.mktemp("up") / "data")
    system.until_up()
    yield system
    system.end()


def _tour(up: Up) -> tuple[str, list[str]]:
    """What `cairn up` printed: the variables, and the commands."""
    begin = up.lines.index("# Paste these first:")
    variables = [line for line in up.lines[begin:] if re.match("[A-Z]+=[^;]*$", line)]
    commands = [line for line in up.lines[begin:] if line.startswith(("curl ", "URL="))]
    return "\n".join(variables), commands


def _readme() -> list[str]:
    """The commands of the README's tour."""
    tour = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Five minutes")[2]
    text = tour.partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith(("curl ", "URL="))]


def _run(variables: str, command: str) -> str:
    script = f"set -e\n{variables}\n{command}"
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_tour_of_the_readme_works_as_pasted(up: Up) -> None:
    variables, commands = _tour(up)
    assert _readme() == commands, "the README's tour is not the one that `cairn up` prints"
    answers = [_run(variables, command) for command in commands]
    _judge(answers)
    _judge([_run(variables, command) for command in commands])  # and again


def _judge(answers: list[str]) -> None:
    versions, history, started, batch, again, refused, seen, not_modified, log, activity, compared, found = answers[:12]
    totals = ["2045323.79", "2163731.46", "2170573.95", "2191469.72", "2198798.96", "2201172.84"]
    assert [version["base_total"] for version in json.loads(versions)["items"]][:6] == totals
    changes = {change["field"]: (change["was"], change["now"]) for change in json.loads(history)["items"]}
    assert changes["extension"] == ("17959.37", "14335.86")
    assert json.loads(started)["base_total"] == totals[0]
    outcomes = json.loads(batch)["outcomes"]
    assert [outcome["receipt"]["stream_version"] for outcome in outcomes] == [2, 3]
    assert json.loads(again) == outcomes[0]["receipt"] | {"replayed": True}
    assert json.loads(refused)["code"] == "estimate.submitted"
    events = [json.loads(line.partition("data: ")[2]) for line in re.findall(r"^data: .*$", seen, re.MULTILINE)]
    assert {"0.16", "0.17"} <= {event["data"]["now"]["unit_price"] for event in events}
    assert not_modified.strip() == "304"
    assert [event["position"] for event in json.loads(log)["events"]] == [1, 2]
    assert {each["actor_name"] for each in json.loads(activity)["items"]} <= {"Olive Owner", "syncer"}
    comparison = json.loads(compared)
    assert (comparison["difference"], len(comparison["lines"]), comparison["lines_differing"]) == ("118407.67", 3, 50)
    assert json.loads(found)["items"]
    _judge_records(answers[12:])


def _judge_records(answers: list[str]) -> None:
    costliest, kpis, drafted, record, preview, requested, run, opened, ended = answers
    costs = [float(each["values"]["forecast_cost"]) for each in json.loads(costliest)["items"]]
    assert costs == sorted(costs, reverse=True)
    assert {each["values"]["category"] for each in json.loads(costliest)["items"]} == {"Construction"}
    groups = json.loads(kpis)["groups"]
    assert sum(each["baseline"]["records"] for each in groups) == json.loads(kpis)["baseline"]["records"] > 0
    assert json.loads(drafted)["position"]
    seen = json.loads(record)
    assert seen["draft"] is None or seen["values"]["forecast_cost"] == "1250000.00"
    assert json.loads(preview)["matching"] > 0
    assert json.loads(requested.partition("}")[2])["position"]
    assert json.loads(run)["status"] == "finished"
    assert json.loads(opened)["position"]
    decoder = json.JSONDecoder()
    changeset, end = decoder.raw_decode(ended)
    [outcome] = decoder.raw_decode(ended[end:])[0]["items"]
    assert changeset["records"][outcome["status"]] == 1
    assert outcome["status"] in {"confirmed", "conflict", "refused", "left"}


def test_a_second_one_says_that_it_runs_and_where(up: Up) -> None:
    second = Up(up.folder)
    found = second.until(r"Cairn already runs here at (\S+) \(process (\d+)\)")
    assert second.process.wait(60) == 0
    assert found.group(1) == json.loads((up.folder / "up.json").read_text())["url"]
    assert int(found.group(2)) == up.process.pid


def test_what_it_keeps_secret_only_its_user_reads(up: Up) -> None:
    assert stat.S_IMODE((up.folder / "operator-token").stat().st_mode) == 0o600


def test_it_is_comfortable_in_little_memory(up: Up) -> None:
    taken = [up.named(name).memory_info().rss for name in ("commands", "projector", "relay")]
    assert sum(taken) <= MEMORY_BYTES_MAX
    assert sum(up.named(name).memory_info().rss for name in ("simulator", "syncer")) <= WORKERS_BYTES_MAX


@pytest.mark.parametrize(
    "verb", [["demo"], ["doctor"], ["parked", "list"], ["token", "list"], ["replay", "project_list"]]
)
def test_verbs_work_beside_it(up: Up, verb: list[str]) -> None:
    done = _verb(up, *verb)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rebuild_under_load_of_nobody_finds_no_difference(up: Up) -> None:
    done = _verb(up, "rebuild", "estimate_detail")
    assert "0 different" in done.stdout, done.stdout + done.stderr


def test_tail_shows_the_stream(up: Up) -> None:
    done = _verb(up, "tail", "--after", "0", "--count", "3")
    kinds = [line.split()[2] for line in done.stdout.splitlines()]
    assert kinds == ["company.registered", "membership.added", "membership.token-issued"]
    assert "\x1b" not in done.stdout


def test_tokens_are_issued_and_revoked(up: Up) -> None:
    url = json.loads((up.folder / "up.json").read_text())["url"]
    token = _verb(up, "token", "issue", "ada@sample.example", "--role", "viewer").stdout.strip()

    def ask() -> int:
        return httpx.get(f"{url}/projects", headers={"Authorization": f"Bearer {token}"}, trust_env=False).status_code

    assert ask() == 200
    rows = [line.split("\t") for line in _verb(up, "token", "list").stdout.splitlines()]
    member, token_id = next((row[0], row[3]) for row in rows if row[1] == "ada@sample.example")
    assert _verb(up, "token", "revoke", member, token_id).returncode == 0
    assert ask() == 401


def test_replay_tells_what_was(up: Up) -> None:
    bid = re.search("^BID=(.*)$", _tour(up)[0], re.MULTILINE)
    assert bid is not None
    done = _verb(up, "replay", "estimate", bid.group(1), "--at", "11")
    assert re.search(r"base_total +2045323\.79$", done.stdout, re.MULTILINE), done.stdout + done.stderr


def _verb(up: Up, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cairn", *arguments]
    environment = OURS | {"CAIRN_DATA_FOLDER": str(up.folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_everything_when_asked(folder: Path, number: signal.Signals) -> None:
    system = Up(folder, "--no-demo")
    system.until_up()
    assert system.end(number) == 0


def test_nothing_is_left_when_it_is_killed(folder: Path) -> None:
    system = Up(folder, "--no-demo")
    url = system.until_up()
    assert system.end(signal.SIGKILL) == -signal.SIGKILL
    again = Up(folder, "--no-demo")
    assert again.until_up() == url, "the port of last time"
    assert again.end() == 0


def test_nothing_is_left_when_its_parent_is_killed(folder: Path) -> None:
    system = Up(folder, "--no-demo", under=["sh", "-c", '"$@"; exit', "sh"])
    system.until_up()
    family = system.family()
    assert len(family) > 5
    system.process.kill()
    system.process.wait()
    assert left_over(family) == []


def test_it_starts_again_what_dies(folder: Path) -> None:
    system = Up(folder)
    url = system.until_up()
    for name in ("relay", "projector", "simulator", "syncer", "commands"):
        system.named(name).kill()
        system.until("ended .SIGKILL.; starting it again")
    for name in ("postgres", "nats-server"):
        system.named(name).kill()
        system.until(f"{name.partition('-')[0]} is ready")
        system.until("everything is ready again")
    assert httpx.get(f"{url}/health/ready", trust_env=False).json()["status"] == "ready"
    assert _verb(system, "doctor").returncode == 0
    assert system.end() == 0


def test_two_checkouts_do_not_collide(tmp_path: Path) -> None:
    systems = [Up(tmp_path / name, "--no-demo") for name in ("one", "two")]
    urls = [system.until_up() for system in systems]
    assert len(set(urls)) == 2
    assert [system.end() for system in systems] == [0, 0]


def test_a_port_that_was_asked_for_and_is_taken_is_named(folder: Path, up: Up) -> None:
    taken = json.loads((up.folder / "up.json").read_text())["port"]
    system = Up(folder, settings={"CAIRN_API_PORT": str(taken)})
    system.until(f"Port {taken} is taken by another program")
    assert system.process.wait(60) == 1


@pytest.mark.parametrize("published", PUBLISHED)
def test_published_data_is_loaded_whole(folder: Path, published: Path) -> None:
    """Totals of the bids, and what all projects were forecast to cost at each of fifteen dates, are read back."""
    system = Up(folder, "--no-demo")
    system.until_up()
    loaded = _verb(system, "demo", "--data", str(published), seconds=230)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    assert "comparing totals" in loaded.stderr
    assert system.end() == 0
