"""Flame graphs of one message on each broker: where a guarded worker spends its CPU time, as an SVG without a script.

    python -m benchmarks.flames [--broker kafka|rabbitmq] [--address ADDRESS]

The worker is that of kafka_throughput.py or rabbitmq_throughput.py, one message per handler call. A timer of the process's CPU time stops
it each millisecond and notes the stack, from the step of the event loop on. What C code takes counts for the Python function that called
it, and Python looks at the timer between two steps of its own only, so that a short function may stand for its neighbour. Below is the
caller; as wide as a box, as much of the time was spent in it. The files are written to docs/plots.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from html import escape
from pathlib import Path
from types import FrameType
from typing import Any, Self

from tests.servers.unavailable import Unavailable

from benchmarks import kafka_throughput, rabbitmq_throughput

FOLDER = Path(__file__).parent.parent / "docs" / "plots"
EVERY = 0.001  # seconds of CPU time between two looks
ROUNDS = {"kafka": 20, "rabbitmq": 8}
MESSAGES = {"kafka": 40_000, "rabbitmq": 5_000}
WIDTH, HEIGHT = 1200, 17  # of the picture and of one row, in pixels
LEAST = 0.004  # a narrower box has no room for a letter
COLOURS = {"holdgate": "#7fb3d5", "benchmarks": "#a9dfbf", "aiokafka": "#f5b041", "aiormq": "#f5b041", "pamqp": "#f8c471"}
OTHER = "#d5d8dc"

Stack = tuple[str, ...]


def name_of(frame: FrameType) -> str:
    """The package, file and function of a frame."""
    path = Path(frame.f_code.co_filename)
    package = next((part for part in reversed(path.parts[:-1]) if part in COLOURS or part == "asyncio"), path.parent.name)
    return f"{package}/{path.stem}: {frame.f_code.co_name}"


class Looks:
    """The stacks that were met, and how often each was."""

    def __init__(self) -> None:
        self.stacks: Counter[Stack] = Counter()

    def look(self, _signal: int, frame: FrameType | None) -> None:
        names: list[str] = []
        while frame is not None and frame.f_code.co_name != "_run_once":
            names.append(name_of(frame))
            frame = frame.f_back
        if frame is not None and names:
            self.stacks[tuple(reversed(names))] += 1

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self.look)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)


def boxes(stacks: Counter[Stack]) -> list[tuple[int, float, float, str]]:
    """Row, left edge, width and name of each box, edges as a part of the whole."""
    whole = stacks.total()
    found: list[tuple[int, float, float, str]] = []

    def add(row: int, left: float, inside: Counter[Stack]) -> None:
        by_first: dict[str, Counter[Stack]] = {}
        for stack, count in inside.items():
            if len(stack) > row:
                by_first.setdefault(stack[row], Counter())[stack] += count
        for name, part in sorted(by_first.items()):
            width = part.total() / whole
            if width >= LEAST:
                found.append((row, left, width, name))
                add(row + 1, left, part)
            left += width

    add(0, 0.0, stacks)
    return found


def drawn(stacks: Counter[Stack], title: str) -> str:
    """The SVG: the loop's step is the lowest row."""
    found = boxes(stacks)
    rows = max(row for row, *_ in found) + 1
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {(rows + 2) * HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="4" y="13">{escape(title)}</text>',
    ]
    for row, left, width, name in found:
        x, y, wide = left * WIDTH, (rows - row) * HEIGHT + HEIGHT // 2, width * WIDTH
        label = name if len(name) * 6 < wide else name.rpartition(" ")[2]
        text = f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(label)}</text>' if len(label) * 6 < wide else ""
        lines.append(
            f'<g><title>{escape(name)}, {width:.1%}</title><rect x="{x:.1f}" y="{y}" width="{max(0.5, wide - 0.5):.1f}" '
            f'height="{HEIGHT - 1}" fill="{COLOURS.get(name.partition("/")[0], OTHER)}"/>{text}</g>'
        )
    return "\n".join([*lines, "</svg>", ""])


async def looked_at(broker: str, given: str | None) -> Counter[Stack]:
    """The stacks of rounds of the guarded worker."""
    messages, module = MESSAGES[broker], {"kafka": kafka_throughput, "rabbitmq": rabbitmq_throughput}[broker]
    async with AsyncExitStack() as stack:
        if broker == "kafka":
            address = given or (await stack.enter_async_context(kafka_throughput.shared_kafka())).bootstrap
            place: str = await kafka_throughput.filled_topic(address, messages)
        else:
            address = given or (await stack.enter_async_context(rabbitmq_throughput.shared_rabbitmq())).url
            place = await stack.enter_async_context(rabbitmq_throughput.declared_queue(address, "classic"))
        seen = Looks()
        for _ in range(ROUNDS[broker]):
            settings: tuple[Any, ...] = (messages,)
            if broker == "rabbitmq":
                await rabbitmq_throughput.fill(address, place, messages)
                settings = messages, rabbitmq_throughput.PREFETCH
            with seen:
                await module.guarded(address, place, *settings)
    return seen.stacks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--broker", choices=list(MESSAGES), help="left out, both")
    parser.add_argument("--address", help="a running broker; left out, the tests' own")
    options = parser.parse_args()
    for broker in [options.broker] if options.broker else list(MESSAGES):
        try:
            stacks = asyncio.run(looked_at(broker, options.address))
        except Unavailable as error:
            sys.exit(str(error))
        title = f"{broker}: CPU time of a guarded worker, one message per handler call; {stacks.total():,} looks"
        (FOLDER / f"flame-{broker}.svg").write_text(drawn(stacks, title))
        print(f"docs/plots/flame-{broker}.svg, {stacks.total():,} looks")


if __name__ == "__main__":
    main()
