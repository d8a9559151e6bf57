"""Who may do what, as a table for the README."""

from pathlib import Path
from typing import Final

from api import roles
from api.app import create_app
from api.settings import ApiSettings
from cairn.settings import put_between
from eventstore import keyring
from eventstore.settings import StoreSettings

TABLE_BEGINS: Final = "<!-- roles: written by `cairn roles --into` -->"
TABLE_ENDS: Final = "<!-- end of roles -->"


def listed() -> list[tuple[str, str, str]]:
    """What, which, who: read off an API that is not started, and so needs no key that opens anything."""
    unstarted = create_app(StoreSettings(database_url="postgresql:///none"), ApiSettings(kek=keyring.minted()))
    return roles.table(unstarted.litestar)


def as_markdown() -> str:
    """The table for the README, without the marks around it."""
    rows = [f"| {what} | {which} | {who} |" for what, which, who in listed()]
    return "\n".join(["| what | which | who |", "| --- | --- | --- |", *rows])


def write_into(readme: Path) -> None:
    """Replaces the table between the marks of a file. Raises ValueError when the marks are not there."""
    put_between(readme, TABLE_BEGINS, TABLE_ENDS, as_markdown())
