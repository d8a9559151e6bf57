"""A persistent map for state that grows: a changed copy costs O(log n), and both share what they have in common."""

from collections.abc import Iterable
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin

import msgspec
from rpds import HashTrieMap

K = TypeVar("K")
V = TypeVar("V")

if TYPE_CHECKING:
    TrieMap = HashTrieMap
else:

    class _IsTrieMap(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, HashTrieMap)

    class TrieMap(Generic[K, V], metaclass=_IsTrieMap):
        """How a state names its `HashTrieMap[K, V]`, which takes no type arguments when the program runs."""


def trie_map(pairs: Iterable[tuple[K, V]] = ()) -> "TrieMap[K, V]":
    """A map of these pairs, the last of equal keys winning."""
    return HashTrieMap(pairs)


def encode_map(value: object) -> object:
    """The msgspec `enc_hook` for states."""
    if isinstance(value, HashTrieMap):
        return dict(value.items())
    raise NotImplementedError(f"no encoding for {type(value).__name__}")


def decode_map(kind: Any, value: Any) -> Any:
    """The msgspec `dec_hook` for states: `kind` is the field's annotation, `value` the dict that was stored."""
    if get_origin(kind) is not TrieMap:
        raise NotImplementedError(f"no decoding for {kind!r}")
    as_dict = GenericAlias(dict, get_args(kind))
    return HashTrieMap(msgspec.convert(value, as_dict, str_keys=True, dec_hook=decode_map))
