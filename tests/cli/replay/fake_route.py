"""A route in memory: letters are numbers; what was put and what is done is kept, and each step may be told to fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdgate.cli.replay.route import Survey

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeRoute:
    """`waiting` letters; `on_put` is called with each before it is written."""

    def __init__(self, waiting: int = 5) -> None:
        self.survey_found = Survey(waiting)
        self.waiting = list(range(waiting))
        self.put_at: list[tuple[int, float]] = []
        self.done_with: list[int] = []
        self.begun = 0
        self.ended = 0
        self.fails: dict[str, BaseException] = {}
        self.on_put: Callable[[int], object] = lambda letter: None

    async def survey(self) -> Survey:
        self._meet("survey")
        return self.survey_found

    async def begin(self) -> None:
        self._meet("begin")
        self.begun += 1

    async def take(self) -> object | None:
        await asyncio.sleep(0)
        return self.waiting.pop(0) if self.waiting else None

    async def put(self, letter: Any) -> None:
        self.on_put(letter)
        await asyncio.sleep(0)
        self._meet("put")
        self.put_at.append((letter, asyncio.get_running_loop().time()))

    async def done(self, letter: Any) -> None:
        self.done_with.append(letter)

    async def end(self) -> None:
        self.ended += 1

    def _meet(self, step: str) -> None:
        if step in self.fails:
            raise self.fails[step]
