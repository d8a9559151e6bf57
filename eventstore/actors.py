"""Who acts without being anybody's member: the deployment's operator, and the workers."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

OPERATOR: Final = UUID(int=0)
"""The actor of what the deployment's operator does. No person of the company: the company's own key seals for it."""
SIMULATOR: Final = UUID("00000000-0000-7000-8000-000000000002")
"""The actor of what simulators record."""
SYNCER: Final = UUID("00000000-0000-7000-8000-000000000003")
"""The actor of what syncers record: what upstreams say, and what they answer to drafts."""

NAMES: Final[Mapping[UUID, str]] = {OPERATOR: "operator", SIMULATOR: "simulator", SYNCER: "syncer"}
"""What they are called where people read who did something."""
