"""Where PostgreSQL and NATS are: the ones named by the settings, else Cairn's own for as long as they are needed."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from api.identity import mint_operator
from api.settings import ApiSettings
from cairn import embedded
from cairn.embedded import Running
from cairn.settings import Settings
from eventstore import keyring
from eventstore.settings import StoreSettings


def own(settings: StoreSettings, say: Callable[[str], None]) -> Running:
    """Finds or starts the servers the settings don't name. Raises EmbeddedError."""
    return embedded.start(
        settings.data_folder, postgres=settings.database_url is None, nats=settings.nats_url is None, say=say
    )


def named(settings: StoreSettings, running: Running) -> StoreSettings:
    """The settings with both URLs filled in."""
    servers = running.servers
    return replace(
        settings,
        database_url=settings.database_url or servers.database_url,
        nats_url=settings.nats_url or servers.nats_url,
    )


@contextmanager
def at_hand(settings: StoreSettings) -> Iterator[StoreSettings]:
    """The settings with the database's URL filled in; a server that had to be started for this stops afterwards."""
    if settings.database_url is not None:
        yield settings
        return
    with embedded.start(settings.data_folder, nats=False) as running:
        yield replace(settings, database_url=running.servers.database_url)


def operator_token(folder: Path) -> str:
    """The operator's token for the API of this data folder, made at first use; only this user may read it."""
    return _made_once(folder / "operator-token", lambda: mint_operator()[0]).read_text(encoding="ascii")


def with_keys(settings: Settings) -> ApiSettings:
    """The API's settings with the key-encryption keys named: for a database of Cairn's own a file beside it, made at
    first use, which only this user may read. Raises SettingsError when real servers were given and no key.
    """
    api, store = settings.api, settings.store
    if api.kek is None and api.kek_file is None and store.database_url is None:
        api = replace(api, kek_file=_made_once(store.data_folder.absolute() / "kek", keyring.minted))
    keyring.keyring_of(api.kek, api.kek_file)
    return api


def _made_once(path: Path, make: Callable[[], str]) -> Path:
    """A file with a secret."""
    if not path.exists():
        descriptor, staged = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(make())
        with suppress(FileExistsError):  # somebody else was faster, and both use theirs
            os.link(staged, path)
        Path(staged).unlink()
    return path
