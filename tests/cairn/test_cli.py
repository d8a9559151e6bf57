"""The command line: bad arguments are explained and exit with 2, bad settings with 78."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from api.identity import secret_hash_of
from cairn import replay
from cairn.cli import cairn


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A command line in a place where nothing runs."""
    monkeypatch.setenv("CAIRN_DATA_FOLDER", str(tmp_path / "data"))
    return CliRunner()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rebild"], "No such command 'rebild'"),
        (["rebuild"], "Missing argument 'NAME'"),
        (["worker", "mirror"], "'mirror' is not one of"),
        (["serve", "everything"], "'everything' is not one of"),
        (["migrate", "--down"], "--down needs --to"),
        (["tail", "--after", "-1"], "--after"),
        (["replay", "estimate", "x"], "'x' is not a valid UUID"),
        (["replay", "estimate", "--at", "yesterday"], "neither a position"),
        (["parked", "skip", "project_list", "key"], "Missing option '--reason'"),
        (["token", "issue", "a@b.example", "--days", "0"], "--days"),
        (["token", "issue", "a@b.example", "--role", "king"], "'king' is not one of"),
    ],
)
def test_bad_arguments_are_explained(runner: CliRunner, arguments: list[str], words: str) -> None:
    refused = runner.invoke(cairn, arguments)
    assert refused.exit_code == 2
    assert words in refused.output


@pytest.mark.parametrize("verb", sorted(cairn.commands))
def test_every_verb_says_what_it_does(runner: CliRunner, verb: str) -> None:
    helped = runner.invoke(cairn, [verb, "--help"])
    assert helped.exit_code == 0
    assert cairn.commands[verb].help


@pytest.mark.parametrize(
    "arguments", [["demo"], ["migrate"], ["tail"], ["rebuild", "project_list"], ["worker", "relay"]]
)
def test_bad_settings_end_every_verb(runner: CliRunner, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("CAIRN_DATABASE_ULR", "postgresql://")
    refused = runner.invoke(cairn, arguments)
    assert refused.exit_code == 78
    assert "did you mean CAIRN_DATABASE_URL?" in refused.output


@pytest.mark.parametrize("arguments", [["demo"], ["tail"], ["token", "list"]])
def test_without_a_system_it_says_how_to_start_one(runner: CliRunner, arguments: list[str]) -> None:
    refused = runner.invoke(cairn, arguments)
    assert refused.exit_code == 1
    assert "Start it with `cairn up`" in refused.output


def test_an_api_that_is_not_there_is_named(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIRN_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CAIRN_TOKEN", "cairn_operator_" + "x" * 32)
    refused = runner.invoke(cairn, ["demo"])
    assert refused.exit_code == 1
    assert "No answer from http://127.0.0.1:9" in refused.output


def test_an_operators_token_is_made_with_its_hash(runner: CliRunner) -> None:
    made = runner.invoke(cairn, ["token", "operator"])
    token, setting = made.output.splitlines()
    assert setting == f"CAIRN_OPERATOR_TOKEN_HASH={secret_hash_of(token)}"


def test_moments_are_positions_or_instants() -> None:
    assert replay.moment(None) is None
    assert replay.moment("42") == 42
    found = replay.moment("2026-11-21T14:30:00+02:00")
    assert str(found) == "2026-11-21 12:30:00+00:00"
    assert str(replay.moment("2026-11-21")) == "2026-11-21 00:00:00+00:00"
