"""Schemas of events are kept per version, and a version's schema changes only in ways its readers bear."""

from decimal import Decimal
from pathlib import Path
from typing import ClassVar, Literal, cast

import jsonschema
import msgspec
import pytest

from domain.decider import Event
from domain.registry import EVENTS
from eventstore import codec, schemas
from eventstore.envelope import schema_of
from eventstore.schemas import Incompatible, breaches
from tests.domain.test_events import GOLDEN


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    amount: Decimal
    note: str | None = None


class Done(Event, frozen=True, kw_only=True, tag="thing.done"):
    part: Part
    parts: tuple[Part, ...] = ()
    kind: Literal["a", "b"] = "a"


def test_every_schema_is_kept_as_it_is_today() -> None:
    """After a change: `make schema`, which refuses what needs another version."""
    changed = [tag for tag, event in EVENTS.items() if schemas.kept(event) != schema_of(event)]
    assert changed == []


def test_every_version_of_every_event_has_a_schema_and_every_file_an_event() -> None:
    names = {f"{tag}/{version}" for tag, event in EVENTS.items() for version in range(1, event.schema_version + 1)}
    published = schemas.published()
    assert set(published) == names
    assert {file.stem for file in schemas.FOLDER.iterdir()} == {name.replace("/", ".") for name in names}
    for name, schema in published.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$id"] == f"/schemas/{name}"


@pytest.mark.parametrize("tag", sorted(EVENTS))
def test_a_stored_event_fits_the_kept_schema(tag: str) -> None:
    stored = msgspec.json.decode((GOLDEN / f"{tag}.json").read_bytes())
    kept = schemas.kept(EVENTS[tag])
    assert kept is not None
    jsonschema.validate(stored, kept, jsonschema.Draft202012Validator)


def changed(**fields: object) -> type[Event]:
    """`Done` with some of its fields otherwise; None takes one away."""
    usual: dict[str, object] = {"part": Part, "parts": (tuple[Part, ...], ()), "kind": (Literal["a", "b"], "a")}
    return made({name: kind for name, kind in (usual | fields).items() if kind is not None})


def made(fields: dict[str, object], version: int = 1) -> type[Event]:
    """An event with these fields, each a type or a type with a default."""
    pairs = [(name, *kind) if isinstance(kind, tuple) else (name, kind) for name, kind in fields.items()]
    kind = msgspec.defstruct(
        "Done",
        pairs,
        bases=(Event,),
        namespace={"schema_version": version, "__annotations__": {"schema_version": ClassVar[int]}},
        tag="thing.done",
        frozen=True,
        kw_only=True,
    )
    return cast("type[Event]", kind)


class Wider(msgspec.Struct, frozen=True, omit_defaults=True):
    amount: Decimal
    note: str | None = None
    reason: str | None = None


class Narrower(msgspec.Struct, frozen=True, omit_defaults=True):
    amount: Decimal


class Stricter(msgspec.Struct, frozen=True, omit_defaults=True):
    amount: Decimal
    note: str | None


class Otherwise(msgspec.Struct, frozen=True, omit_defaults=True):
    amount: int
    note: str | None = None


BREACHES: dict[str, tuple[dict[str, object], list[str]]] = {
    "a field gone": ({"parts": None}, ["/parts is gone"]),
    "a required field gone": ({"part": None}, ["/part is gone"]),
    "a required field more": ({"who": str}, ["/who is now required"]),
    "a field no longer required": ({"part": (Part | None, None)}, ["/part is no longer required"]),
    "another value": ({"kind": (Literal["a", "b", "c"], "a")}, ["/kind: `enum` was"]),
    "another default": ({"kind": (Literal["a", "b"], "b")}, ["/kind: `default` was"]),
    "another type": ({"kind": (int, 1)}, ["/kind: `default` was", "/kind: `enum` was", "/kind: `type` was"]),
    "a field gone within": ({"part": Narrower, "parts": None}, ["/part/note is gone", "/parts is gone"]),
    "a field required within a list": ({"parts": (tuple[Stricter, ...], ())}, ["/parts/*/note"]),
    "another type within": ({"part": Otherwise}, ["/part/amount: `format` was", "/part/amount: `type` was"]),
}


@pytest.mark.parametrize("name", BREACHES)
def test_what_needs_another_version(name: str) -> None:
    fields, expected = BREACHES[name]
    found = breaches(schema_of(Done), schema_of(changed(**fields)))
    assert len(found) >= len(expected)
    assert [each for each in expected if not any(breach.startswith(each) for breach in found)] == []


def test_optional_fields_may_come_and_words_may_change() -> None:
    assert breaches(schema_of(Done), schema_of(changed())) == []
    assert (
        breaches(schema_of(Done), schema_of(changed(who=(str | None, None), part=Wider, parts=(tuple[Wider, ...], ()))))
        == []
    )


def test_an_event_of_an_older_version_keeps_its_schema(tmp_path: Path) -> None:
    first, second = changed(), made({"part": Part, "who": str}, version=2)
    (file,) = schemas.keep([first], tmp_path)
    assert schemas.keep([first], tmp_path) == []
    with pytest.raises(Incompatible, match="/who is now required"):
        schemas.keep([changed(who=str)], tmp_path)
    assert file.exists()
    schemas.keep([second], tmp_path)
    published = schemas.published([second], tmp_path)
    assert published == {"thing.done/1": schema_of(first), "thing.done/2": schema_of(second)}
    stored = msgspec.json.decode(codec.encode(Done(part=Part(Decimal("1.50")))))
    jsonschema.validate(stored, published["thing.done/1"], jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(stored, published["thing.done/2"], jsonschema.Draft202012Validator)
