"""A key-encryption key for tests, and vaults that hold it."""

from typing import Final

from eventstore.keyring import keyring_of
from eventstore.vault import Vault

KEK: Final = "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk="


def vault(*keks: str) -> Vault:
    """A process's vault."""
    return Vault(keyring_of(",".join(keks) or KEK, None))
