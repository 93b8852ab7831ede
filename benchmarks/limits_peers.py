"""What else there is for Python in front of a service with a limit, in the worlds of `benchmarks.limits`.

    python -m benchmarks.limits_peers [--worlds rate,cap] [--seeds 1]

The libraries are run themselves, on the same simulated time, against the same services, with the same client.

- fixed 16 with back-off: sixteen callers. Each waits after a refusal, or obeys its Retry-After: 0.25 s, doubled each time, at most 30 s,
  and of that a random part between a half and all.
- botocore: `ClientRateLimiter` of its retry mode "adaptive" with its `CubicCalculator`, `TokenBucket` and throttling detector as botocore
  puts them together, and the waits of its standard mode (a random part of 1 s, doubled, at most 20 s). 200 callers share one client. Where
  it would block its thread for a token, a task sleeps.
- aiolimiter: `AsyncLimiter` with 200 callers, told the number: what the service lets through a second when it is well. A refused call is
  made again after the same back-off as above.
- circuit alone: a Guard whose limits are off, to which a 429 is a failure, as it was to holdgate before it knew of limits; 16 handlers.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from benchmarks.limits import cell, chosen, head, row

from holdgate_lab.worlds.answers import CountingClient, StatusError
from holdgate_lab.worlds.catalogue import WORLDS
from holdgate_lab.worlds.playing import Consumer, Scene, circuit_alone, guarded, play
from holdgate_lab.worlds.world import CEILING

CALLERS = 16

# Returns the status of one call; 0 means that there was no answer.
Call = Callable[[], Any]


async def status_of(client: CountingClient) -> tuple[int, float | None]:
    """Make one call, and return its status and Retry-After; 0 means that there was no answer."""
    try:
        await client.post()
    except StatusError as error:
        after = error.response.headers.get("Retry-After")
        return error.response.status_code, None if after is None else float(after)
    except OSError:  # a TimeoutError is one
        return 0, None
    return 200, None


def back_off(chance: Random, failed: int) -> float:
    """Return how long a caller waits after so many failures in a row."""
    return min(30.0, 0.25 * 2 ** min(failed - 1, 10)) * chance.uniform(0.5, 1.0)


async def callers(number: int, one: Callable[[], Any]) -> None:
    """Run so many callers at the same time."""
    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(one())


def fixed(rate: float) -> Consumer:
    """Sixteen callers that back off."""

    async def consume(scene: Scene, client: CountingClient, chance: Random) -> None:
        async def caller() -> None:
            failed = 0
            while True:
                status, after = await status_of(client)
                failed = 0 if status == 200 else failed + 1
                if failed:
                    await asyncio.sleep(back_off(chance, failed) if after is None else after)

        await callers(CALLERS, caller)

    return consume


class _LateLoop:
    """The running loop, whose timers come a microsecond late. aiolimiter sets a timer for the instant of a token; one that comes early by
    a rounding error sets the next for now, and on a clock that only timers move that goes on for ever."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_at(self, when: float, *given: Any) -> asyncio.TimerHandle:
        return self._loop.call_at(when + 1e-6, *given)


def aiolimiter(rate: float) -> Consumer:
    """A static rate, which somebody knew."""

    async def consume(scene: Scene, client: CountingClient, chance: Random) -> None:
        from aiolimiter import AsyncLimiter

        limiter = AsyncLimiter(rate, 1.0)
        limiter._event_loop = _LateLoop()  # noqa: SLF001 - it has no other way in

        async def caller() -> None:
            failed = 0
            while True:
                await limiter.acquire()
                status, after = await status_of(client)
                failed = 0 if status == 200 else failed + 1
                if failed:
                    await asyncio.sleep(back_off(chance, failed) if after is None else after)

        await callers(CEILING, caller)

    return consume


class _LoopTime:
    """botocore's Clock, on the loop's time."""

    def current_time(self) -> float:
        return asyncio.get_running_loop().time()


class _Response:
    """What botocore's detector looks at of an HTTP response."""

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.headers: Mapping[str, str] = {}


def botocore(rate: float) -> Consumer:
    """One client with the retry mode "adaptive"."""

    async def consume(scene: Scene, client: CountingClient, chance: Random) -> None:
        from botocore.exceptions import CapacityNotAvailableError
        from botocore.retries import adaptive, bucket, standard, throttling

        clock = _LoopTime()
        tokens = bucket.TokenBucket(max_rate=1, clock=clock)
        limiter = adaptive.ClientRateLimiter(
            rate_adjustor=throttling.CubicCalculator(starting_max_rate=0, start_time=clock.current_time()),
            rate_clocker=adaptive.RateClocker(clock),
            token_bucket=tokens,
            throttling_detector=standard.ThrottlingErrorDetector(retry_event_adapter=standard.RetryEventAdapter()),
            clock=clock,
        )
        turn = asyncio.Lock()  # who waits for a token waits in a row, or all would wake for each one

        async def token() -> None:
            async with turn:
                while limiter._enabled:  # noqa: SLF001 - what its `on_sending_request` asks
                    try:
                        tokens.acquire(block=False)
                        return
                    except CapacityNotAvailableError:
                        await asyncio.sleep(max(0.001, tokens._sleep_amount(1)))  # noqa: SLF001 - what it would block for

        async def caller() -> None:
            failed = 0
            while True:
                await token()
                status, _ = await status_of(client)
                limiter.on_receiving_response(
                    response=(_Response(status), {"Error": {"Code": ""} if status != 200 else {}}) if status else None,
                    attempts=failed + 1,
                    operation=None,
                    caught_exception=None if status else TimeoutError(),
                    request_dict={"context": {}},
                )
                failed = 0 if status == 200 else failed + 1
                if failed:
                    await asyncio.sleep(min(20.0, chance.random() * 2 ** min(failed - 1, 10)))

        await callers(CEILING, caller)

    return consume


PEERS: Mapping[str, Callable[[float], Consumer]] = {
    "fixed 16 with back-off": fixed,
    "botocore": botocore,
    "aiolimiter": aiolimiter,
    "circuit alone": lambda _: guarded(circuit_alone, concurrency=CALLERS),
}


def figures(names: Sequence[str], seeds: int) -> None:
    """Print a row for each world, with the mean of the seeds for each peer."""
    head("world", *PEERS)
    for world in chosen(names):
        rate = world.best(world.seconds) / world.seconds if world.trouble is None else world.trouble.possible
        cells = [cell(world, [play(world, seed, make(rate)) for seed in range(1, seeds + 1)]) for make in PEERS.values()]
        row(world.name, *cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worlds", default="", help="names with commas; left out: those that were measured first")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("botocore", "aiolimiter"))
    print(f"{versions}; seeds 1 to {options.seeds}\n")
    figures([name for name in options.worlds.split(",") if name] or tuple(WORLDS), options.seeds)


if __name__ == "__main__":
    main()
