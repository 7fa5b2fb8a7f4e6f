"""How many pods may start at once, and which goes first."""

from __future__ import annotations

import asyncio
import heapq
from typing import Any


class Slots:
    """A counting semaphore whose waiters are served by priority, then in the order of their coming."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[Any, int, asyncio.Future[None]]] = []
        self._counter = 0

    async def take(self, priority: Any) -> None:
        """Wait for a slot; the lowest priority value goes first."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._counter += 1
        heapq.heappush(self._waiting, (priority, self._counter, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Hand a slot on, or back."""
        while self._waiting:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
                return
        self._free += 1
