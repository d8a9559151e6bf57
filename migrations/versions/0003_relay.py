"""What the workers keep: who relays, what the broker was seen to hold, what is to be sent again, who is alive."""

from migrations.run import beside

revision = "0003"
down_revision = "0002"

upgrade, downgrade = beside(__file__)
