"""Slots: never more at once than there are, the lowest priority first, none lost by cancellation."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from ailab.runtime.native.slots import Slots


def test_the_lowest_goes_first_then_who_came_first() -> None:
    async def main() -> list[str]:
        slots, order = Slots(1), []

        async def one(name: str, priority: tuple[bool, int]) -> None:
            await slots.take(priority)
            order.append(name)
            await asyncio.sleep(0)
            slots.give()

        await slots.take((True, 0))
        tasks = [asyncio.ensure_future(one(n, p)) for n, p in {"c": (True, 1), "d": (True, 1), "a": (False, 9), "b": (True, 0)}.items()]
        await asyncio.sleep(0)
        slots.give()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(main()) == ["a", "b", "c", "d"]


Task = st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 12) | st.none())


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), st.lists(Task, max_size=12))
def test_any_mix_of_work_and_cancellation(count: int, work: list[tuple[int, int, int | None]]) -> None:
    """Each: a priority, how many rounds it holds its slot, and the round in which it is cancelled."""

    async def main() -> None:
        slots, held, most = Slots(count), 0, 0

        async def one(priority: int, rounds: int) -> None:
            nonlocal held, most
            await slots.take(priority)
            held += 1
            most = max(most, held)
            try:
                for _ in range(rounds):
                    await asyncio.sleep(0)
            finally:
                held -= 1
                slots.give()

        tasks = [asyncio.ensure_future(one(p, r)) for p, r, _ in work]
        for number in range(13):
            for task, (_, _, when) in zip(tasks, work, strict=True):
                if when == number:
                    task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert most <= count
        # All of them are back.
        for _ in range(count):
            await asyncio.wait_for(slots.take(0), 1)

    asyncio.run(main())
