"""An edition of a code set: the cost codes a company may book under, with what they mean."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, TypeAlias, assert_never
from uuid import UUID

import msgspec
import pydantic
from msgspec.structs import replace
from pydantic import Field

from domain import company
from domain.decider import (
    AUTHORS,
    COMPANY,
    Command,
    Decider,
    Event,
    Ref,
    Rejected,
    Role,
    Spanning,
    State,
    Written,
    members,
)
from domain.lines import IMPORT_LIMIT, in_chunks
from domain.maps import TrieMap, trie_map
from domain.text import Label, NotEmpty, Sentence
from domain.units import Unit

REJECTIONS: Final[Mapping[str, str]] = {
    "codeset.unknown": "No code set was registered under this id.",
    "codeset.already-registered": "A code set with other particulars was registered under this id.",
    "codeset.edition-already-registered": "The company has this edition of the code set, under another id.",
    "codeset.import-refused": "Some codes of the import have faults, listed by index; nothing of it was stored.",
    "codeset.code-repeated": "The import names this code more than once.",
}


class CodeInput(pydantic.BaseModel):
    """A cost code as it is sent."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    code: Label = Field(description="The code, as lines and costs name it.", examples=["2104504/00120"])
    description: Sentence = Field(description="What it stands for.", examples=["REMOVE BITUMINOUS PAVEMENT"])
    unit: Unit | None = Field(default=None, description="What it is measured in; null if it varies.", examples=["SY"])


class RegisterCodeSet(Command):
    """Registers an edition of a code set. From then on, lines that name the set must name a registered edition."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    code_set: Label = Field(description="The set, as lines name it.", examples=["MnDOT"])
    edition: Label = Field(description="The edition, as lines name it.", examples=["2020"])
    source: Sentence | None = Field(default=None, description="Where it is from.", examples=["MnDOT pay item list"])


class ImportCodes(Command):
    """Adds codes: all of them or none. One that is there with another meaning gets the new one."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    codes: Annotated[tuple[CodeInput, ...], Field(max_length=IMPORT_LIMIT), NotEmpty()] = Field(
        description=f"Up to {IMPORT_LIMIT:,} codes."
    )


class CodeMeaning(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A cost code and what it stands for."""

    code: str
    description: str
    unit: str | None = None


class CodeSetRegistered(Event, frozen=True, kw_only=True, tag="codeset.registered"):
    code_set: str
    edition: str
    source: str | None = None


class CodesImported(Event, frozen=True, kw_only=True, tag="codeset.codes-imported"):
    """Part of one import: at most 500 codes, all parts in one append. A code that was there has a new meaning."""

    codes: tuple[CodeMeaning, ...]


CodeSetEvent: TypeAlias = CodeSetRegistered | CodesImported


class CodeSet(State, frozen=True, kw_only=True):
    """`code_set` is empty until the edition is registered."""

    code_set: str = ""
    edition: str = ""
    source: str | None = None
    codes: TrieMap[str, CodeMeaning] = trie_map()


def decide(command: ImportCodes, codeset: CodeSet) -> list[CodeSetEvent]:
    if not codeset.code_set:
        raise Rejected("codeset.unknown", "missing")
    wanted: dict[str, CodeMeaning] = {}
    faults: list[dict[str, object]] = []
    for index, sent in enumerate(command.codes):
        try:
            wanted[sent.code] = _new(sent, wanted)
        except Rejected as fault:
            faults.append({"index": index, "code": fault.code} | fault.facts)
    if faults:
        raise Rejected("codeset.import-refused", faults=faults)
    changed = [meaning for meaning in wanted.values() if codeset.codes.get(meaning.code) != meaning]
    return [CodesImported(codes=chunk) for chunk in in_chunks(changed)]


def _new(sent: CodeInput, before: Mapping[str, CodeMeaning]) -> CodeMeaning:
    if sent.code in before:
        raise Rejected("codeset.code-repeated", repeated=sent.code)
    return CodeMeaning(code=sent.code, description=sent.description, unit=sent.unit)


def _register_reads(_: UUID, __: RegisterCodeSet) -> list[Ref]:
    return [COMPANY]


def _register(id: UUID, command: RegisterCodeSet, states: Mapping[Ref, Any]) -> list[Written]:
    own = Ref("codeset", id)
    codeset: CodeSet = states[own]
    registered = CodeSetRegistered(code_set=command.code_set, edition=command.edition, source=command.source)
    if codeset.code_set:
        if evolve(codeset, registered) == codeset:
            return []
        raise Rejected("codeset.already-registered", "conflict", code_set=codeset.code_set, edition=codeset.edition)
    of: company.Company = states[COMPANY]
    taken = of.code_editions.get(command.code_set, {}).get(command.edition)
    if taken is not None:
        raise Rejected("codeset.edition-already-registered", "conflict", codeset_id=str(taken))
    listed = company.CodeEditionRegistered(code_set=command.code_set, edition=command.edition, codeset_id=id)
    return [(COMPANY, listed), (own, registered)]


def evolve(codeset: CodeSet, event: CodeSetEvent) -> CodeSet:
    match event:
        case CodeSetRegistered():
            return replace(codeset, code_set=event.code_set, edition=event.edition, source=event.source)
        case CodesImported(codes=codes):
            return replace(codeset, codes=codeset.codes.update([(meaning.code, meaning) for meaning in codes]))
    assert_never(event)


codeset = Decider(
    category="codeset",
    initial=CodeSet(),
    decide=decide,
    evolve=evolve,
    commands=(RegisterCodeSet, ImportCodes),
    events=members(CodeSetEvent),
    spanning={RegisterCodeSet: Spanning(reads=_register_reads, decide=_register)},
)
