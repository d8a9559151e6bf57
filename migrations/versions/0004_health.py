"""Lets every process see which migration its database has reached."""

from migrations.run import beside

revision = "0004"
down_revision = "0003"

upgrade, downgrade = beside(__file__)
