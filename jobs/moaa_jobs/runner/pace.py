"""When rows are started: one by one, in order, each when the models want more calls."""

import asyncio
from collections.abc import Coroutine

from moaa.client.pool.clients import Clients


class Pace:
    """Starts rows of a stage as tasks of a group."""

    def __init__(self, group: asyncio.TaskGroup, clients: Clients, *, most: int) -> None:
        self._group = group
        self._clients = clients
        self._room = asyncio.Semaphore(most)
        """Rows that may be worked on at the same time; it bounds memory."""

    async def start(self, work: Coroutine[object, object, None]) -> None:
        """Start `work` once some model wants calls. It has made its first calls on return."""
        try:
            await self._room.acquire()
            await self._clients.until_wanted()
        except BaseException:
            work.close()
            raise
        self._group.create_task(work).add_done_callback(lambda _: self._room.release())
        await asyncio.sleep(0)
