"""Settings: read at once, refused with a suggestion, listed with units, handed to whom they concern."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from api.settings import ApiSettings
from cairn import settings
from cairn.cli import cairn
from eventstore.settings import SettingsError, StoreSettings


def test_an_empty_environment_is_good_enough() -> None:
    found = settings.read({"PATH": "anywhere"})
    assert found.store.database_url is None
    assert found.api.api_port == ApiSettings().api_port


def test_a_name_that_nobody_knows_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match="CAIRN_API_PROT is not a setting; did you mean CAIRN_API_PORT"):
        settings.read({"CAIRN_API_PROT": "1"})


def test_every_fault_is_named() -> None:
    with pytest.raises(SettingsError) as refused:
        settings.read({"CAIRN_API_PORT": "many", "CAIRN_LOG_LEVEL": "loud"})
    assert "CAIRN_API_PORT" in str(refused.value)
    assert "CAIRN_LOG_LEVEL" in str(refused.value)


def test_every_setting_has_a_unit_a_default_and_a_meaning_and_a_name_of_its_own() -> None:
    described = settings.described()
    assert len({each.name for each in described}) == len(described)
    assert all(each.unit and each.default and each.description.endswith(".") for each in described)


def test_a_process_gets_what_it_knows() -> None:
    environment = {"PATH": "x", "CAIRN_API_PORT": "1", "CAIRN_LOG_LEVEL": "info", "CAIRN_TOKEN": "secret"}
    assert settings.known_to((StoreSettings,), environment) == {"PATH": "x", "CAIRN_LOG_LEVEL": "info"}


def test_the_table_replaces_the_one_before(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{settings.TABLE_BEGINS}\nstale row\n{settings.TABLE_ENDS}\nafter\n")
    settings.write_into(readme)
    text = readme.read_text()
    assert settings.as_markdown() in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "stale row" not in text


def test_the_command_lists_them() -> None:
    listed = CliRunner().invoke(cairn, ["settings"])
    assert listed.exit_code == 0
    assert [line for line in listed.output.splitlines() if line.startswith("CAIRN_DATA_FOLDER\t.cairn\tpath\t")]
