"""`python -m api [commands] [queries]`: the HTTP side in a process of its own, settings from the environment."""

import os
import sys
from collections.abc import Mapping
from typing import Final

from api.app import SIDES
from api.server import run
from api.settings import ApiSettings
from eventstore import process
from eventstore import settings as environment
from eventstore.keyring import keyring_of
from eventstore.settings import SettingsError, StoreSettings
from projections.settings import EngineSettings

EXIT_USAGE: Final = 64  # as sysexits
EXIT_SETTINGS: Final = 78
OF_THE_WORKERS: Final = ("CAIRN_WORKER_", "CAIRN_RELAY_")
"""Settings of another package, which a shared environment may hold."""


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """The command line."""
    sides = frozenset(arguments) or SIDES
    if sides - SIDES:
        print("usage: python -m api [commands] [queries]", file=sys.stderr)  # noqa: T201  # help
        return EXIT_USAGE
    own = {name: value for name, value in environ.items() if not name.startswith(OF_THE_WORKERS)}
    try:
        store, settings = _settings(own)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the operator reads it before there is a log
        return EXIT_SETTINGS
    process.begin(store, environ, "cairn-api")
    return run(store, settings, sides)


def _settings(environ: Mapping[str, str]) -> tuple[StoreSettings, ApiSettings]:
    store, _, settings = environment.read(StoreSettings, EngineSettings, ApiSettings, environ=environ)
    assert isinstance(store, StoreSettings)
    assert isinstance(settings, ApiSettings)
    if store.database_url is None:
        raise SettingsError("CAIRN_DATABASE_URL is not set: a process of its own needs to be told where PostgreSQL is")
    keyring_of(settings.kek, settings.kek_file)
    return store, settings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
