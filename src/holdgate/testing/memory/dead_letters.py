"""Dead letters in memory: what a test looks at afterwards, and a target that fails when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from holdgate.errors import SettingsError
from holdgate.flow.message import DeadLetter, own_headers
from holdgate.testing.memory.broker import MemoryBroker


class MemoryDeadLetters:
    """Keeps rejected messages in `letters`, in the order of their confirmation; implements `holdgate.ports.DeadLetters`.

    With a `broker` each is also produced into one of its topics or queues: `topic`, with `{topic}` for where the message came from, as
    `KafkaDeadLetters` has it. Set `failing` to an exception to make every publication raise it, None to let them pass again. `delay` is
    how many seconds a confirmation takes, and `published` counts how often one was asked for.
    """

    def __init__(
        self, broker: MemoryBroker | None = None, topic: str = "{topic}.dead", *, delay: float = 0.0, exception_text: bool = False
    ) -> None:
        if not delay >= 0:
            raise SettingsError(f"delay={delay!r} must be 0 seconds or more")
        self.letters: list[DeadLetter] = []
        self.failing: BaseException | None = None
        self.delay = delay
        self.published = 0
        self.users = 0  # runs that have opened it and not closed it yet
        self._broker = broker
        self._topic = topic
        self._exception_text = exception_text

    async def open(self, names: Collection[str] | None) -> None:  # noqa: ARG002 - the port has it
        """Count one run more."""
        self.users += 1
        await asyncio.sleep(0)

    async def publish(self, letter: DeadLetter) -> None:
        """Keep it after `delay` seconds, or raise `failing`."""
        self.published += 1
        await asyncio.sleep(self.delay)
        if self.failing is not None:
            raise self.failing
        if self._broker is not None:
            headers = {**dict(own_headers(letter.delivery.headers.items())), **letter.facts(text=self._exception_text)}
            self._broker.produce(self._topic.format(topic=letter.source.name), letter.body, letter.key, headers)
        self.letters.append(letter)

    async def close(self) -> None:
        """Count one run less."""
        self.users -= 1
        await asyncio.sleep(0)
