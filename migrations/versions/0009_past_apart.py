"""Read-model tables whose past a question about now never looks at."""

from migrations.run import beside

revision = "0009"
down_revision = "0008"

upgrade, downgrade = beside(__file__)
