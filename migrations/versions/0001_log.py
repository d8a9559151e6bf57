"""The log: roles, row-level security, the append function."""

from migrations.run import beside

revision = "0001"
down_revision = None

upgrade, downgrade = beside(__file__)
