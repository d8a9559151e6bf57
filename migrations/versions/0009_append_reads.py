"""The append's straight ways, for units that read other streams as well."""

from migrations.run import beside

revision = "0009"
down_revision = "0008"

upgrade, downgrade = beside(__file__)
