"""Keeps when each member was last active, beside the log: it is no edit, and comes too often to be one."""

from migrations.run import beside

revision = "0007"
down_revision = "0006"

upgrade, downgrade = beside(__file__)
