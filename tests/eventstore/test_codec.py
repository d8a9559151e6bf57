"""Stored bytes and events: exact both ways, older shapes included; snapshots know when they are out of date."""

from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from domain.decider import State
from domain.estimate import estimate
from domain.estimate_state import Estimate
from domain.maps import TrieMap, trie_map
from domain.project import ProjectRenamed
from domain.registry import DECIDERS
from eventstore import codec


def test_an_event_is_its_bytes() -> None:
    event = ProjectRenamed(was="Road", now="Bridge")
    body = codec.encode(event)
    assert codec.decode(codec.tag(event), 1, body) == event
    assert codec.encode(codec.decode(codec.tag(event), 1, body)) == body


@pytest.mark.parametrize(
    ("kind", "version", "body"),
    [
        ("project.unheard-of", 1, b'{"type":"project.unheard-of"}'),
        ("project.renamed", 99, b'{"type":"project.renamed","was":"a","now":"b"}'),
        ("project.renamed", 1, b'{"type":"project.renamed","was":"a"}'),
        ("project.renamed", 1, b"not json"),
    ],
)
def test_what_cannot_be_read_says_so(kind: str, version: int, body: bytes) -> None:
    with pytest.raises(codec.Undecodable, match=kind):
        codec.decode(kind, version, body)


def test_a_snapshot_of_another_shape_has_another_fingerprint() -> None:
    class Held(msgspec.Struct, frozen=True):
        amount: Decimal

    class Wider(msgspec.Struct, frozen=True):
        amount: Decimal
        unit: str

    class One(State, frozen=True, kw_only=True):
        held: TrieMap[UUID, Held] = trie_map()

    class Other(State, frozen=True, kw_only=True):
        held: TrieMap[UUID, Wider] = trie_map()

    shapes = {codec._shape(kind, set()).replace(kind.__qualname__, "") for kind in (One, Other)}
    assert len(shapes) == 2
    assert len({codec.fingerprint(decider) for decider in DECIDERS}) == len(DECIDERS)


def test_a_state_comes_back_from_its_snapshot() -> None:
    assert codec.decode_state(Estimate, codec.encode_state(estimate.initial)) == estimate.initial
