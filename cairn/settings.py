"""All settings of all packages at once: read, listed, and handed out to the processes that know them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from api.settings import ApiSettings
from eventstore import settings
from eventstore.settings import Described, KeySettings, StoreSettings
from projections.settings import EngineSettings
from workers.settings import WorkerSettings


class ToolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the verbs of `cairn` that talk to an API need to know. Servers don't read these."""

    url: Annotated[
        str | None,
        Meta(
            description="API that `cairn` talks to. Without it the one that `cairn up` runs here.",
            extra={"unit": "URL"},
        ),
    ] = None
    token: Annotated[
        str | None,
        Meta(
            description="Token that `cairn` shows the API. Without it this folder's operator.", extra={"unit": "secret"}
        ),
    ] = None
    sample_data: Annotated[
        str | None,
        Meta(
            description="Folder with published bids, forecasts, codes and prices; `carried` for what is carried along.",
            extra={"unit": "path"},
        ),
    ] = None


KINDS: tuple[type[msgspec.Struct], ...] = (StoreSettings, EngineSettings, ApiSettings, WorkerSettings, ToolSettings)

PROCESSES: Mapping[str, tuple[tuple[str, ...], tuple[type[msgspec.Struct], ...]]] = {
    "api": (("api", "commands", "queries"), (StoreSettings, EngineSettings, ApiSettings)),
    "projector": (("workers", "projector"), (StoreSettings, EngineSettings, WorkerSettings)),
    "relay": (("workers", "relay"), (StoreSettings, EngineSettings, WorkerSettings)),
    "simulator": (("workers", "simulator"), (StoreSettings, EngineSettings, WorkerSettings)),
    "syncer": (("workers", "syncer"), (StoreSettings, EngineSettings, WorkerSettings, KeySettings)),
}
"""What runs beside the servers: the module with its arguments, and the settings it reads."""

TABLE_BEGINS = "<!-- settings: written by `cairn settings --markdown` -->"
TABLE_ENDS = "<!-- end of settings -->"


class Settings(msgspec.Struct, frozen=True):
    """One struct per package."""

    store: StoreSettings
    engine: EngineSettings
    api: ApiSettings
    workers: WorkerSettings
    tools: ToolSettings


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Everything the environment says. Raises eventstore.settings.SettingsError, which names every fault."""
    store, engine, api, workers, tools = settings.read(*KINDS, environ=environ)
    assert isinstance(store, StoreSettings)
    assert isinstance(engine, EngineSettings)
    assert isinstance(api, ApiSettings)
    assert isinstance(workers, WorkerSettings)
    assert isinstance(tools, ToolSettings)
    return Settings(store, engine, api, workers, tools)


def known_to(kinds: tuple[type[msgspec.Struct], ...], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the settings of other packages: a process refuses what it doesn't know."""
    known = {described.name for described in settings.describe(*kinds)}
    return {name: value for name, value in environ.items() if not name.startswith(settings.PREFIX) or name in known}


def described() -> list[Described]:
    """Every setting there is, package by package."""
    return [replace(each, default=each.default or "none") for each in settings.describe(*KINDS)]


def as_markdown() -> str:
    """The table for the README, without the marks around it."""
    rows = [f"| `{each.name}` | {each.default} | {each.unit} | {each.description} |" for each in described()]
    return "\n".join(["| name | default | unit | meaning |", "| --- | --- | --- | --- |", *rows])


def write_into(readme: Path) -> None:
    """Replaces the table between the marks of a file. Raises ValueError when the marks are not there."""
    put_between(readme, TABLE_BEGINS, TABLE_ENDS, as_markdown())


def put_between(readme: Path, begins: str, ends: str, table: str) -> None:
    """Replaces what stands between two marks of a file. Raises ValueError when they are not there."""
    text = readme.read_text(encoding="utf-8")
    before, found_begin, rest = text.partition(begins)
    _, found_end, after = rest.partition(ends)
    if not (found_begin and found_end):
        raise ValueError(f"{readme} has no place for {begins}")
    readme.write_text(f"{before}{begins}\n{table}\n{ends}{after}", encoding="utf-8")
