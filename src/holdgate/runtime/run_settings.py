"""Run settings: what `guard.run` checks before anything is consumed, and turns into a run of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from holdgate.core import validation
from holdgate.errors import CommandError, SettingsError
from holdgate.flow.inbox import Order, weigh
from holdgate.flow.message import Delivery, Queue, Source
from holdgate.flow.policy import ByMessage, FallbackSettings, Needs, RetryPolicy
from holdgate.flow.state import Run
from holdgate.ports import DeadLetters, Intake, Keyed, ReadingAhead, Rejecting, Weighing
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.keys import check_keyed
from holdgate.runtime.needs import NeedsSetting, OneNeeds, Sorter, check_list, named_needs, possible_needs
from holdgate.slips import refuse_function_of_nothing

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.runtime.handlers import Handler

KeyOf = Callable[[Delivery[Any]], object]

_ORDERS = ("source", "key", "none")

# Enough to keep a dependency of 10 ms busy at 1,600 calls a second, and few enough for its connection pool.
_LANES = 16


# What makes an object an intake, as far as can be seen before it is opened.
_INTAKE = ("names", "order", "inbox", "rebalance_timeout", "open", "receive", "apply", "settle", "flush", "close")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """A run that is known to be good, and what the runtime needs beside it.

    `key_of` is set with order="key" alone; `has_key` says that the user gave it, or that the intake's messages have one.
    `lane_per_source`: as many lanes as there are sources. `timeout`: seconds that a handler may take; None means no limit. `fallback`: what
    runs instead of it; None means nothing. `sorter` asks what each message needs; None means that all messages of a source need the same.
    """

    run: Run
    dependencies: tuple[Dependency, ...]
    key_of: KeyOf | None
    has_key: bool
    lane_per_source: bool
    dead_letters: DeadLetters | None
    timeout: float | None = None
    fallback: Handler | None = None
    sorter: Sorter | None = None

    def set_keys(self, deliveries: Iterable[Delivery[Any]]) -> None:
        """Note on each delivery what it is kept in order by. Raises CommandError when `key` fails: without a key there is no order."""
        if self.key_of is None:
            return
        for delivery in deliveries:
            try:
                key = delivery.order_key = self.key_of(delivery)
                hash(key)
            except Exception as error:
                raise CommandError(
                    f"key= raised {type(error).__name__} for {delivery!r}: it must give something hashable for every delivery,"
                    " or None for one that has no order to keep"
                ) from error

    def check_keys(self, sources: Iterable[Source]) -> None:
        """Raise SettingsError for sources whose deliveries have no key of their own, when order="key" was asked for and none was given."""
        queues = sorted(source.name for source in sources if isinstance(source, Queue))
        if queues and self.key_of is not None and not self.has_key:
            raise _no_key(queues)


def plan_run(
    intake: Intake[Any],
    needs: NeedsSetting,
    *,
    order: Order | None,
    key: KeyOf | None,
    concurrency: int | None,
    span: int,
    held_span: int | None = None,
    retry: RetryPolicy | None,
    dead_letters: DeadLetters | None = None,
    batch: int | None = None,
    timeout: float | timedelta | None = None,
    fallback: Handler | None = None,
    fallback_after: float | timedelta = 0.0,
    fallback_concurrency: int | None = None,
    handled: Iterable[str] | None = None,
    declared: Iterable[Dependency] = (),
) -> RunSettings:
    """Check the settings of a run. `handled`: the names that have a handler; None means one for all. `declared`: what the guard was given.
    Raises SettingsError with the values that clash."""
    check_intake(intake)
    refuse_function_of_nothing("needs", needs)
    _check_types(key, retry)
    _check_dead_letters(dead_letters, retry)
    seconds = None if timeout is None else validation.seconds("timeout", timeout)
    wanted = _order(order, key, intake)
    _check_batch(batch, wanted, intake)
    concurrency = _concurrency(concurrency, wanted, batch, intake)
    _at_least_one("span", span)
    needs = _for_handlers(needs, handled) if intake.names is None else needs
    dependencies, names = _resolve(needs, tuple(declared))
    by_key = check_keyed(dependencies, batch)
    sorter = _sorter(needs, by_key=by_key)
    _check_by_message(held_span, span, batch, by_message=sorter is not None)
    if intake.names is not None:
        names.check(intake.names)
    falling_back = _fallback(fallback, fallback_after, fallback_concurrency, batch)
    rejects = dead_letters is not None or (isinstance(intake, Rejecting) and intake.can_reject)
    # What a lane takes immediately does not wait: only what is left behind it fills an inbox.
    inbox = intake.inbox + (batch or 0)
    run = Run(
        names,
        order=wanted,
        concurrency=concurrency,
        inbox=inbox,
        span=span,
        held_span=held_span,
        retry=retry,
        rejects=rejects,
        batch=batch,
        fallback=falling_back,
        apart=handled is not None,
        weigh=intake.weigh if isinstance(intake, Weighing) else weigh,
        sends_unasked=isinstance(intake, ReadingAhead) and intake.sends_unasked,
    )
    return RunSettings(
        run,
        dependencies,
        (key or _key_of) if wanted == "key" else None,
        key is not None or (isinstance(intake, Keyed) and intake.has_keys),
        concurrency is None,
        dead_letters,
        seconds,
        fallback,
        sorter,
    )


def _no_key(names: Iterable[str]) -> SettingsError:
    return SettingsError(
        f'order="key" needs key= for {sorted(names)}, because RabbitMQ\'s messages have no key: write what is kept in order, as in'
        ' key=lambda delivery: delivery.headers.get("customer")'
    )


def _order(order: Order | None, key: KeyOf | None, intake: Intake[Any]) -> Order:
    """Return the order that was asked for, or else what the broker promises anyway."""
    wanted = intake.order if order is None else order
    if wanted not in _ORDERS:
        raise SettingsError(f"order must be one of {', '.join(map(repr, _ORDERS))}, got {order!r}")
    if key is not None and wanted != "key":
        raise SettingsError(f'key= is given, but order={wanted!r} keeps no order by key: add order="key" or leave key out')
    if wanted == "key" and key is None and isinstance(intake, Keyed) and not intake.has_keys:
        raise _no_key(intake.names or ())
    return wanted


def _concurrency(given: int | None, order: Order, batch: int | None, intake: Intake[Any]) -> int | None:
    """Return how many handlers run in parallel. None means one per source."""
    if given is not None:
        return _at_least_one("concurrency", given)
    # More lanes than deliveries in hand would only stand idle; more than full batches in hand would make all of them smaller.
    return None if order == "source" else min(_LANES, intake.inbox // (batch or 1))


def check_intake(intake: object) -> None:
    """Raise SettingsError for what is not an intake, such as a client's own consumer."""
    missing = [name for name in _INTAKE if not hasattr(intake, name)]
    if missing:
        raise SettingsError(
            f"{type(intake).__name__} is not an intake, it has no {missing[0]!r}: wrap a consumer, as in KafkaIntake(consumer)"
        )


def _check_types(key: object, retry: object) -> None:
    if key is not None and not callable(key):
        raise SettingsError(f"key={key!r} cannot be called: give a function that takes a delivery")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise SettingsError(f"retry must be a RetryPolicy, got {retry!r}: write RetryPolicy(attempts=...)")


def _fallback(fallback: Handler | None, after: float | timedelta, concurrency: int | None, batch: int | None) -> FallbackSettings | None:
    given = [name for name, is_given in (("fallback_after", after != 0), ("fallback_concurrency", concurrency is not None)) if is_given]
    if fallback is None:
        if given:
            raise SettingsError(f"{given[0]}= is given without fallback=: say what is to be done, or leave it out")
        return None
    if batch is not None:
        raise SettingsError(f"batch={batch} and fallback=: a fallback takes one message; leave one of them out")
    if concurrency is not None:
        _at_least_one("fallback_concurrency", concurrency)
    return FallbackSettings(0.0 if after == 0 else validation.seconds("fallback_after", after), concurrency)


def _check_batch(batch: object, order: Order, intake: Intake[Any]) -> None:
    if batch is None:
        return
    most = _at_least_one("batch", batch)
    if order == "key":
        raise SettingsError(f'batch={batch} and order="key": a batch has many keys, and one that waits would hold all; use order="source"')
    if most > intake.inbox:
        raise SettingsError(
            f"batch={batch} is more than the {intake.inbox} deliveries that the intake keeps in hand, and would never be full:"
            " lower it, or raise inbox= (RabbitMQ: prefetch=)"
        )


def _check_dead_letters(given: object, retry: RetryPolicy | None) -> None:
    if given is not None and retry is not None and retry.on_exhausted == "skip":
        raise SettingsError('dead_letters= is given, and RetryPolicy(on_exhausted="skip") would put nothing there: leave one of them out')
    if given is not None and not isinstance(given, DeadLetters):
        raise SettingsError(
            f"dead_letters={type(given).__name__} has no open, publish and close: wrap a client, as in KafkaDeadLetters(producer)"
        )


def _for_handlers(needs: NeedsSetting, handled: Iterable[str] | None) -> NeedsSetting:
    """Under a pattern, with handlers by name: a topic that has none is one of which nobody has said what it needs, and is held."""
    if handled is None:
        return needs
    by_name = named_needs(needs)
    if by_name is None:
        return dict.fromkeys(handled, cast("OneNeeds", needs))
    without = sorted(set(by_name) - set(handled))
    if without:
        raise SettingsError(f"needs has entries for {without}, and handler has none: add a handler for each")
    return needs


def _key_of(delivery: Delivery[Any]) -> object:
    return delivery.key


def _at_least_one(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{name} must be a whole number from 1, got {value!r}")
    return value


def _resolve(needs: NeedsSetting, declared: tuple[Dependency, ...]) -> tuple[tuple[Dependency, ...], Needs]:
    by_name = named_needs(needs)
    if by_name is not None:
        found = {name: _one(each, f"needs[{name!r}]", declared) for name, each in by_name.items()}
        every = [dependency for listed, _ in found.values() for dependency in listed]
        return tuple(dict.fromkeys(every)), Needs({name: names for name, (_, names) in found.items()})
    listed, names = _one(cast("OneNeeds", needs), "needs", declared)
    return tuple(dict.fromkeys(listed)), Needs(names)


def _one(needs: OneNeeds, where: str, declared: tuple[Dependency, ...]) -> tuple[Sequence[Dependency], Sequence[str]]:
    """Return the dependencies of one source, or of all, and their names; a `ByMessage` where a function decides."""
    if callable(needs):
        possible = possible_needs(needs, where, declared)
        return possible, ByMessage(dependency.name for dependency in possible)
    listed = check_list(needs, where)
    return listed, [dependency.name for dependency in listed]


def _sorter(needs: NeedsSetting, *, by_key: bool) -> Sorter | None:
    """Return what asks the functions in `needs`, and those for keys; None means that there is none."""
    by_name = named_needs(needs)
    every: Iterable[tuple[str | None, object]] = [(None, needs)] if by_name is None else by_name.items()
    functions = {name: each for name, each in every if callable(each)}
    return Sorter(functions) if functions or by_key else None


def _check_by_message(held_span: int | None, span: int, batch: int | None, *, by_message: bool) -> None:
    if held_span is not None and not by_message:
        raise SettingsError(
            "held_span= is given, but no function in needs= and no key=: all messages of a source wait together, so leave it out"
        )
    if held_span is not None and _at_least_one("held_span", held_span) < span:
        raise SettingsError(f"held_span={held_span} is less than span={span}: raise the first or lower the second")
    if batch is not None and by_message:
        raise SettingsError(
            f"batch={batch} and a function in needs=: a batch has one verdict, and its messages may need different things;"
            " leave batch out, or give the batches a topic or queue of their own with a list in needs="
        )
