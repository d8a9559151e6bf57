"""The append's straight ways: for batches that nothing stands against, one unit of one event, or many."""

from migrations.run import beside

revision = "0005"
down_revision = "0004"

upgrade, downgrade = beside(__file__)
