"""Queries that wait for their read model, and streams that wait for the log: hints wake them, polls are the truth."""

import asyncio
from collections import defaultdict
from typing import Final
from uuid import UUID

from api.positions import Token
from api.problems import Problem
from api.settings import ApiSettings
from eventstore import log
from eventstore.db import Database, DriverError, Reader, Unavailable
from eventstore.log import Head
from projections import positions

PLACES_KEPT_MAX: Final = 50_000

_Place = tuple[UUID, str]


class CatchUp:
    """Lets queries wait until a model of a company has reached a position. One poll per model serves all who wait.

    What hints and answers told is kept, to know beforehand that a transaction would find too little; never to know that
    it would find enough. A replica may not have yet what a hint speaks of: there, only polls tell. A model without name
    is the log itself.
    """

    def __init__(self, database: Database, settings: ApiSettings, *, replica: bool = False) -> None:
        self._database = database
        self._replica = replica
        self._settings = settings
        self._waiting: dict[_Place, list[tuple[int, asyncio.Future[None]]]] = defaultdict(list)
        self._polls: dict[_Place, asyncio.Task[None]] = {}
        self._hinted: set[_Place] = set()
        self._reached: dict[_Place, int] = {}
        self._heads: dict[UUID, Head] = {}

    def log_moved(self, tenant: UUID, position: int) -> None:
        """A hint: a company's log has reached a position."""
        head = self._heads.get(tenant)
        if head is not None and position > head.position:
            self._heads[tenant] = head._replace(position=position)

    def saw(self, head: Head, model: str, reached: int) -> None:
        """What an answer's transaction found."""
        for kept in (self._heads, self._reached):
            if len(kept) > PLACES_KEPT_MAX:
                kept.clear()  # memory of what happened to pass by: it comes back
        self._heads[head.tenant] = head
        self._reached[head.tenant, model] = reached

    def moved(self, tenant: UUID, model: str, position: int) -> None:
        """A hint: a model has reached a position. Whoever is woken looks for himself."""
        if self._replica:
            return
        place = (tenant, model)
        self._reached[place] = position
        if place not in self._waiting:
            return
        self._hinted.add(place)
        self._wake(place, position)

    def _wake(self, place: _Place, position: int) -> None:
        for wanted, woken in self._waiting.get(place, ()):
            if wanted <= position and not woken.done():
                woken.set_result(None)

    def is_too_early(self, tenant: UUID, model: str, newer: Token) -> bool:
        """Whether a transaction begun now would surely find the model short of a position that the log has."""
        head, reached = self._heads.get(tenant), self._reached.get((tenant, model))
        if head is None or reached is None or head.epoch != newer.epoch:
            return False
        return reached < newer.position <= head.position

    async def until(self, tenant: UUID, model: str, wanted: int, seconds: float) -> None:
        """Returns once the model has probably reached `wanted`. Raises Problem after `seconds`, naming its position."""
        place = (tenant, model)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, woken)
        self._waiting[place].append(entry)
        if place not in self._polls:
            self._polls[place] = asyncio.create_task(self._poll(place))
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await woken
        except TimeoutError:
            reached = self._reached.get(place, 0)
            raise Problem(
                "model.behind", headers={"Retry-After": "1"}, model=model, reached=reached, wanted=wanted
            ) from None
        finally:
            self._waiting[place].remove(entry)
            if not self._waiting[place]:
                del self._waiting[place]

    async def _poll(self, place: _Place) -> None:
        try:
            while place in self._waiting:
                await asyncio.sleep(self._settings.api_catch_up_poll_seconds)
                if place in self._hinted:  # hints come: they are faster, and cost the database nothing
                    self._hinted.discard(place)
                elif place in self._waiting:
                    await self._look(place)
        finally:
            self._polls.pop(place, None)

    async def _look(self, place: _Place) -> None:
        tenant, model = place
        try:
            async with self._database.bound(tenant) as reader:
                position = self._reached[place] = await _position(reader, model)
        except (Unavailable, DriverError):  # busy, or away for a moment: the next look may do
            return
        self._wake(place, position)

    async def close(self) -> None:
        """Ends the polls; whoever waits gets its problem when its time is up."""
        for poll in list(self._polls.values()):
            poll.cancel()
        await asyncio.gather(*self._polls.values(), return_exceptions=True)


async def _position(reader: Reader, model: str) -> int:
    if model:
        return await positions.position_of(reader, model)
    head = await log.head(reader)
    return 0 if head is None else head.position


class LogFollowers:
    """Wakes streams when their company's log has moved."""

    def __init__(self) -> None:
        self._events: dict[UUID, set[asyncio.Event]] = defaultdict(set)

    def moved(self, tenant: UUID, _: int) -> None:
        """A hint, or a commit of this process."""
        for event in self._events.get(tenant, ()):
            event.set()

    def join(self, tenant: UUID) -> asyncio.Event:
        """An event that is set whenever the company's log has moved. Give it back with `leave`."""
        event = asyncio.Event()
        self._events[tenant].add(event)
        return event

    def leave(self, tenant: UUID, event: asyncio.Event) -> None:
        """Ends what `join` began."""
        self._events[tenant].discard(event)
        if not self._events[tenant]:
            del self._events[tenant]

    def wake_all(self) -> None:
        """Wakes every stream: the process is about to stop."""
        for events in self._events.values():
            for event in events:
                event.set()
