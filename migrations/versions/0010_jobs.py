"""The queue of background jobs, in a schema and for a role of its own."""

from migrations.run import beside

revision = "0010"
down_revision = "0009"

upgrade, downgrade = beside(__file__)
