"""An edition of a code set: registered once per company, its codes imported."""

import json
from uuid import UUID

import pydantic
import pytest

from domain.codeset import CodeMeaning, CodeSetRegistered, CodesImported, ImportCodes, RegisterCodeSet, codeset
from domain.company import CodeEditionRegistered, Company
from domain.decider import COMPANY, Ref
from tests.specs import SOME_ID, given

OTHER = UUID(int=2)
BESIDE = {COMPANY: Company(name="Northern Paving", currency="USD")}
REGISTER = RegisterCodeSet(code_set="MnDOT", edition="2020")
REGISTERED = CodeSetRegistered(code_set="MnDOT", edition="2020")
LISTED = CodeEditionRegistered(code_set="MnDOT", edition="2020", codeset_id=SOME_ID)


def codes(*bodies: dict[str, object]) -> ImportCodes:
    return ImportCodes.model_validate_json(json.dumps({"codes": bodies}))


def test_registering() -> None:
    scene = given(codeset, beside=BESIDE)
    scene.when(REGISTER).then_written((COMPANY, LISTED), (Ref("codeset", SOME_ID), REGISTERED))
    scene.when(REGISTER).then_nothing()
    again = RegisterCodeSet(code_set="MnDOT", edition="2018")
    scene.when(again).then_rejected("codeset.already-registered", "conflict", edition="2020")


def test_an_edition_is_registered_once() -> None:
    had = {COMPANY: Company(name="Northern Paving", code_editions={"MnDOT": {"2020": OTHER}})}
    given(codeset, beside=had).when(REGISTER).then_rejected(
        "codeset.edition-already-registered", "conflict", codeset_id=str(OTHER)
    )
    other = RegisterCodeSet(code_set="MnDOT", edition="2018")
    scene = given(codeset, beside=had)
    scene.when(other).then_accepted()
    assert scene.world.state(COMPANY).code_editions == {"MnDOT": {"2020": OTHER, "2018": SOME_ID}}


def test_importing() -> None:
    scene = given(codeset, REGISTERED)
    body: dict[str, object] = {"code": "2104504/00120", "description": "REMOVE PAVEMENT", "unit": "S Y"}
    meaning = CodeMeaning(code="2104504/00120", description="REMOVE PAVEMENT", unit="SY")
    scene.when(codes(body)).then(CodesImported(codes=(meaning,)))
    scene.when(codes(body)).then_nothing()
    other: dict[str, object] = {"code": "2104505/00120", "description": "REMOVE CURB"}
    scene.when(codes(body, other)).then(
        CodesImported(codes=(CodeMeaning(code="2104505/00120", description="REMOVE CURB"),))
    )
    changed = CodeMeaning(code="2104504/00120", description="REMOVE BITUMINOUS PAVEMENT")
    scene.when(codes({"code": changed.code, "description": changed.description})).then(CodesImported(codes=(changed,)))
    assert scene.state.codes[changed.code] == changed


def test_importing_is_refused() -> None:
    body: dict[str, object] = {"code": "A", "description": "x"}
    given(codeset).when(codes(body)).then_rejected("codeset.unknown", "missing")
    given(codeset, REGISTERED).when(codes(body, {"code": "B", "description": "y"}, body)).then_rejected(
        "codeset.import-refused", faults=[{"index": 2, "code": "codeset.code-repeated", "repeated": "A"}]
    )
    with pytest.raises(pydantic.ValidationError, match="at most 20000"):
        codes(*[body] * 20_001)
    with pytest.raises(pydantic.ValidationError) as refused:
        codes(body, {"code": " ", "description": "", "unit": "parsec"})
    assert [each["loc"] for each in refused.value.errors()] == [
        ("codes", 1, "code"),
        ("codes", 1, "description"),
        ("codes", 1, "unit"),
    ]


def test_importing_many_in_chunks() -> None:
    bodies: list[dict[str, object]] = [{"code": f"{n:05}", "description": "x"} for n in range(1_201)]
    many = codes(*bodies)
    events = given(codeset, REGISTERED).when(many).events
    assert [len(event.codes) for event in events if isinstance(event, CodesImported)] == [500, 500, 201]
