"""What came of a world, in figures, and what of them misses the promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from holdgate_lab.worlds.answers import CountingClient
from holdgate_lab.worlds.world import LimitedWorld, Promise, Trouble

# What counts as back: nine tenths of what is possible, over ten seconds. A shorter span would take a burst for it.
_BACK = 0.9
_BACK_OVER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldFigures:
    """The measures of one run; each as in `Promise`. None means that the world has no such thing, or `back_after` that it never came back.

    `good` and `wasted` count calls of all workers, and `was_troubled` says whether the world had a trouble that ended.
    """

    good: int
    wasted: int
    goodput: float
    waste: float
    in_flight: int
    fairness: float | None
    calls_a_minute: float | None
    back_after: float | None
    was_troubled: bool


def figures_of(world: LimitedWorld, clients: Sequence[CountingClient], in_flight: Sequence[int]) -> WorldFigures:
    """Return the figures of a run that has ended. `in_flight` has samples of calls in flight, of all workers."""
    good = sum(client.good.total() for client in clients)
    wasted = sum(client.wasted.total() for client in clients)
    samples = sorted(in_flight)
    trouble = world.trouble
    return WorldFigures(
        good=good,
        wasted=wasted,
        goodput=good / world.best(world.seconds),
        waste=wasted / max(1, good + wasted),
        in_flight=samples[int(len(samples) * 0.99)] if samples else 0,
        fairness=_jain([client.good.total() for client in clients]) if len(clients) > 1 else None,
        calls_a_minute=_calls_a_minute(clients, trouble) if trouble else None,
        back_after=_back_after(clients, trouble, int(world.seconds)) if trouble else None,
        was_troubled=trouble is not None,
    )


def missed(figures: WorldFigures, promise: Promise) -> list[str]:
    """Return what is not as promised, in words; nothing if all is."""
    return list(_missed(figures, promise))


def _missed(figures: WorldFigures, promise: Promise) -> Iterator[str]:
    if figures.goodput < promise.goodput:
        yield f"goodput must be at least {promise.goodput:.2f} of the best possible, got {figures.goodput:.4f}"
    if figures.waste > promise.waste:
        yield f"at most {promise.waste:.2%} of calls may be in vain, got {figures.waste:.2%} ({figures.wasted})"
    if promise.in_flight is not None and figures.in_flight > promise.in_flight:
        yield f"at most {promise.in_flight} calls may be in flight (p99), got {figures.in_flight}"
    if promise.fairness is not None and (figures.fairness or 0.0) < promise.fairness:
        yield f"the fairness must be at least {promise.fairness:.2f}, got {figures.fairness or 0.0:.3f}"
    if promise.calls_a_minute is not None and (figures.calls_a_minute or 0.0) > promise.calls_a_minute:
        yield f"at most {promise.calls_a_minute:g} calls a minute may be made in the trouble, got {figures.calls_a_minute:.2f}"
    if promise.back_after is not None and (figures.back_after is None or figures.back_after > promise.back_after):
        got = "never" if figures.back_after is None else f"after {figures.back_after:g} s"
        yield f"it must be back at most {promise.back_after:g} s after the trouble, got {got}"


def _jain(shares: Sequence[int]) -> float:
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def _calls_a_minute(clients: Sequence[CountingClient], trouble: Trouble) -> float:
    seconds = range(int(trouble.start), int(trouble.end))
    return sum(client.calls[second] for client in clients for second in seconds) / len(seconds) * 60


def _back_after(clients: Sequence[CountingClient], trouble: Trouble, end: int) -> float | None:
    """Return the seconds to the first ten that are good, from whole seconds on."""
    start = int(trouble.end)
    good = [sum(client.good[second] for client in clients) for second in range(start, end)]
    enough = _BACK * trouble.possible * _BACK_OVER
    return next((float(late) for late in range(len(good) - _BACK_OVER + 1) if sum(good[late : late + _BACK_OVER]) >= enough), None)
