"""A durable consumer of one company's events: every event once, in order, whatever the broker does.

    CAIRN_URL=http://127.0.0.1:8080 CAIRN_TOKEN=cairn_… NATS_URL=nats://… python examples/consumer.py inbox.db

Delivery is at least once and the broker may lose messages, so an inbox keyed by position decides:
a position seen before is skipped, a hole is read from `GET /log?after=`, and when a new epoch
begins (the log was restored to an earlier moment) what the log no longer holds is dropped first.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
from typing import Any
from uuid import UUID

import httpx
import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

Event = dict[str, Any]


class Inbox:
    """What this consumer has, durably: one row per position, 1, 2, 3 … without hole."""

    def __init__(self, path: str) -> None:
        self.rows = sqlite3.connect(path, isolation_level=None)
        self.rows.execute("create table if not exists inbox (position integer primary key, epoch integer, id text)")

    def last(self) -> tuple[int, int]:
        """The last position, and its epoch; 0 and 0 when empty."""
        row = self.rows.execute("select position, epoch from inbox order by position desc limit 1").fetchone()
        return row or (0, 0)

    def id_at(self, position: int) -> str | None:
        """The event this consumer has at a position."""
        row = self.rows.execute("select id from inbox where position = ?", [position]).fetchone()
        return row and str(row[0])

    def put(self, event: Event) -> None:
        """Your own work belongs here, in the same transaction as the row: then it happens once."""
        row = (event["position"], int(event["epoch"]), event["id"])
        self.rows.execute("insert into inbox values (?, ?, ?)", row)
        print(f"{event['position']:>6}  {event['type']:<32} {event['subject']}", flush=True)

    def drop_after(self, position: int) -> None:
        """Forgets what the log no longer holds."""
        self.rows.execute("delete from inbox where position > ?", [position])


class Log:
    """The log over HTTP: where holes are filled from."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    async def after(self, position: int, limit: int = 200) -> list[Event]:
        """The next events behind a position."""
        answer = await self.http.get("/log", params={"after": position, "limit": limit})
        answer.raise_for_status()
        events: list[Event] = answer.json()["events"]
        return events

    async def shared_with(self, inbox: Inbox) -> int:
        """The last position at which the log holds the same event as the inbox, found by halving."""
        low, high = 0, inbox.last()[0]
        while low < high:
            middle = (low + high + 1) // 2
            found = await self.after(middle - 1, 1)
            same = bool(found) and found[0]["id"] == inbox.id_at(middle)
            low, high = (middle, high) if same else (low, middle - 1)
        return low


async def take(event: Event, inbox: Inbox, log: Log) -> None:
    """Brings the inbox to where this event stands in it, or leaves it alone if it is there already."""
    position, epoch = inbox.last()
    if int(event["epoch"]) > epoch > 0:
        shared = await log.shared_with(inbox)
        print(f"epoch {event['epoch']} began: kept 1 … {shared} of {position}", flush=True)
        inbox.drop_after(shared)
        position = shared
    while position + 1 < event["position"]:
        print(f"hole: {position + 1} … {event['position'] - 1} read from the log", flush=True)
        for missing in await log.after(position):
            if missing["position"] < event["position"]:
                inbox.put(missing)
        position = inbox.last()[0]
    if event["position"] == position + 1:
        inbox.put(event)


async def main() -> None:
    """Consumes until it is interrupted, or has the position it was told to stop at."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("inbox", help="file that keeps what was received")
    arguments.add_argument("--stop-at", type=int, default=0, help="end once this position is in the inbox")
    chosen = arguments.parse_args()
    token = os.environ["CAIRN_TOKEN"]
    company = UUID(token.split("_")[1])
    inbox, log = Inbox(chosen.inbox), Log(os.environ.get("CAIRN_URL", "http://127.0.0.1:8080"), token)
    async with await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222")) as broker:
        subscription = await broker.jetstream().pull_subscribe(
            f"cairn.{company}.event.>",
            durable=f"example-python-{company.hex}",
            stream="CAIRN_EVENTS",
            config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT),
        )
        while not 0 < chosen.stop_at <= inbox.last()[0]:
            with contextlib.suppress(TimeoutError):
                for message in await subscription.fetch(50, timeout=1):
                    await take(json.loads(message.data), inbox, log)
                    await message.ack()  # only now: what was not acknowledged comes again


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
