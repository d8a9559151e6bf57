"""What the projection engine keeps about read models: builds, checkpoints, deliveries, parked events, leases."""

from migrations.run import beside

revision = "0002"
down_revision = "0001"

upgrade, downgrade = beside(__file__)
