"""The keys that what is written about persons is encrypted under, and the addresses that are in use, as digests."""

from migrations.run import beside

revision = "0006"
down_revision = "0005"

upgrade, downgrade = beside(__file__)
