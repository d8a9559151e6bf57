"""What background operations tell of themselves: who works on one, and how far it is."""

from migrations.run import beside

revision = "0008"
down_revision = "0007"

upgrade, downgrade = beside(__file__)
