"""What holds of every aggregate's words: codes listed, names unique, schemas describable."""

import ast
from pathlib import Path

import pytest

from domain.decider import Command
from domain.registry import COMMANDS, DECIDERS, REJECTIONS

DOMAIN = Path(__file__).parents[2] / "domain"


def raised_codes() -> dict[str, str]:
    """Every code given to `Rejected` in the source → the module; a code that is not a literal fails."""
    found = {}
    for path in DOMAIN.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rejected":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
                found[str(node.args[0].value)] = path.stem
    return found


def test_every_rejection_is_listed_and_every_listed_one_is_raised() -> None:
    assert set(raised_codes()) == set(REJECTIONS)


def test_a_code_begins_with_its_category_and_has_a_sentence() -> None:
    categories = {decider.category for decider in DECIDERS}
    for code, sentence in REJECTIONS.items():
        assert code.partition(".")[0] in categories
        assert sentence[0].isupper()
        assert sentence[-1] == "."
    of_aggregates = {code: module for code, module in raised_codes().items() if module in categories}
    assert all(code.startswith(f"{module}.") for code, module in of_aggregates.items())


def test_commands_have_names_of_their_own() -> None:
    names = [command.__name__ for _, command in COMMANDS.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("command", [command for _, command in COMMANDS.values()], ids=lambda command: command.__name__)
def test_a_command_and_its_fields_are_described(command: type[Command]) -> None:
    schema = command.model_json_schema()
    assert schema["description"]
    assert schema["additionalProperties"] is False
    assert [name for name, field in schema.get("properties", {}).items() if not field.get("description")] == []


def test_an_aggregate_lists_what_it_decides() -> None:
    assert all(set(decider.spanning) <= set(decider.commands) for decider in DECIDERS)
