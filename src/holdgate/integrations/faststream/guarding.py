"""`FastStreamGuard`: a guard around the subscribers of a FastStream app.

Theory of operation. The guard's middleware is put around all others of each broker, and the app's hooks start and stop the guard, so that
an app needs one line. When it starts, each subscriber with needs gets a station, which is a run of the guard whose messages FastStream
brings (runtime/guests.py). What could lose messages is refused there, before anything is consumed.

    on_startup    check the subscribers, enter the guard, begin a run for each
    a message     its subscriber's station takes it (middleware.py)
    on_shutdown   drain: nothing starts any more, what runs may end, what is finished is settled. Only then does FastStream close its
                  consumers, which would make anything settled later come again

FastStream's test client has no consumer that could be held. There the middleware lets everything through, and what a handler raises comes
out of `publish`, as without a guard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from faststream import AckPolicy
from faststream.exceptions import StopApplication

from holdgate.core.validation import seconds
from holdgate.errors import HoldgateError, SettingsError
from holdgate.flow.policy import RetryPolicy
from holdgate.integrations.faststream.middleware import GuardMiddleware, Station
from holdgate.ports import DeadLetters, Intake
from holdgate.runtime.guard import Guard
from holdgate.runtime.guests import GuestLane, GuestRun
from holdgate.runtime.needs import NeedsSetting, OneNeeds, named_needs
from holdgate.runtime.run_settings import RunSettings, plan_run
from holdgate.slips import suggest_keywords

if TYPE_CHECKING:
    from datetime import timedelta

    from aiokafka import ConsumerRebalanceListener

log = logging.getLogger("holdgate")


class StationedIntake(Intake[Any], Station, Protocol):
    """The station of one subscriber, which is the intake of its run as well."""

    @property
    def name(self) -> str:
        """What the subscriber reads."""
        ...

    @property
    def concurrency(self) -> int | None:
        """How many handlers FastStream may run in parallel. None means one per source."""
        ...

    @property
    def can_dead_letter(self) -> bool:
        """Whether one message is one delivery."""
        ...

    def joined(self, run: GuestRun) -> None:
        """Take the run to which the messages go."""
        ...

    def granted(self, lane: GuestLane) -> None:
        """Let the message of this lane start."""
        ...

    def released(self) -> None:
        """Let go of what waits: the run ends, and the broker will hand it out again."""
        ...


class GuardedBroker(Protocol):
    """What the module of each broker says about its subscribers."""

    def is_for(self, broker: object) -> bool: ...

    def names_of(self, subscriber: Any) -> Collection[str] | None:
        """Return the topics or queues that it reads. None means a pattern."""
        ...

    def is_real(self, subscriber: Any, raw: Any) -> bool:
        """Return whether a message came from a broker, and not from FastStream's test client."""
        ...

    def check(self, subscriber: Any, names: Collection[str] | None) -> None:
        """Raise SettingsError for a subscriber that cannot be held."""
        ...

    def station(self, subscriber: Any, names: Collection[str] | None, consumer_timeout: float) -> StationedIntake:
        """Return the station of a subscriber that has been checked."""
        ...


class FastStreamGuard:
    """Guards the subscribers of a FastStream app: what needs a dependency that is down is held, and returns gently.

    - `app_or_broker`: a `FastStream` app with all its brokers, or a `KafkaBroker` or `RabbitBroker`. With an app the guard starts and stops
      with it. A broker without one: `async with` around its life, or `start()` before it and `stop()` before its own.
    - `needs`: as for `Guard.run`: a list, or a mapping by topic or queue, or a function. With a mapping, subscribers of other topics and
      queues are not guarded.
    - `guard`: the Guard to use, for its observers, its control and its log. None means one of its own. One that is not entered yet is
      entered and left by this.
    - `retry`: the RetryPolicy. None means its defaults.
    - `dead_letters`: where rejected messages go, or a function that is called for that when the guard starts: an `AIOKafkaProducer` cannot
      be made before an event loop runs. None means that RabbitMQ rejects them, and that a Kafka partition is blocked. Batches of Kafka
      always block.
    - `timeout`: seconds above 0, or a timedelta, after which a handler is cancelled and has failed. None means no limit.
    - `consumer_timeout`: RabbitMQ's consumer timeout in seconds above 0, or a timedelta. Messages that are held go back a fifth of it
      before, and come again.

    Each guarded subscriber must have `ack_policy=AckPolicy.MANUAL`, because the guard settles; on RabbitMQ it must have a channel with a
    prefetch. Raises SettingsError, here or when it starts.
    """

    @suggest_keywords
    def __init__(
        self,
        app_or_broker: Any,
        *,
        needs: NeedsSetting,
        guard: Guard | None = None,  # most apps need nothing of it
        retry: RetryPolicy | None = None,  # the same as for guard.run
        dead_letters: DeadLetters | Callable[[], DeadLetters] | None = None,  # only the user knows where rejected messages may go
        timeout: float | timedelta | None = None,  # no limit fits every handler: one that hangs is named, and not stopped
        consumer_timeout: float | timedelta = 1800.0,  # the broker's own default
    ) -> None:
        self._app: Any = app_or_broker if callable(getattr(app_or_broker, "on_shutdown", None)) else None
        self._brokers: dict[Any, GuardedBroker] = {}
        self._needs = needs
        self._given = guard
        self._guard = guard
        self._retry = retry
        self._dead_letters = dead_letters
        self._letters: DeadLetters | None = None  # those of this start
        self._timeout = timeout
        self._consumer_timeout = seconds("consumer_timeout", consumer_timeout)
        self._stations: dict[Any, StationedIntake] = {}
        self._runs: list[GuestRun] = []
        self._owns_guard = False
        self._running = False
        self._starting = asyncio.Lock()
        middleware = GuardMiddleware.of(self._stations, self)
        for broker in [app_or_broker] if self._app is None else app_or_broker.brokers:
            self._brokers[broker] = _kind_of(broker)
            broker.insert_middleware(middleware)
        if not self._brokers:
            raise SettingsError("the app has no broker yet: give it one before FastStreamGuard(app), or give the broker itself")
        if self._app is not None:
            self._app.on_startup(self._on_startup)
            self._app.on_shutdown(self.stop)

    @property
    def guard(self) -> Guard:
        """The guard itself: for its snapshot, its health and its commands. Raises SettingsError before it has started."""
        if self._guard is None:
            raise SettingsError("the guard is made when the app starts; to have it earlier, give one: FastStreamGuard(app, guard=Guard())")
        return self._guard

    @property
    def listener(self) -> ConsumerRebalanceListener:
        """What a Kafka subscriber should have as `listener=`, so that running handlers may end before their partitions go."""
        from holdgate.integrations.faststream.kafka import GuardListener, KafkaStation  # noqa: PLC0415 - only where aiokafka is

        def stations() -> Iterator[KafkaStation]:
            return (station for station in self._stations.values() if isinstance(station, KafkaStation))

        return GuardListener(stations)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def check(self) -> None:
        """Raise SettingsError for what would be refused when it starts. For a test of yours, or before a deployment: no broker is asked."""
        for subscriber, _ in self._find_guarded():
            self._check(subscriber)

    async def start(self) -> None:
        """Check the subscribers and begin. An app does that by itself. Idempotent. Raises SettingsError, GuardClosed or IntakeError."""
        async with self._starting:
            if self._running:
                return
            guarded = self._find_guarded()
            if self._given is None:
                self._guard = Guard(signals=False)  # FastStream takes the signals
            self._owns_guard = self.guard.loop is None
            if self._owns_guard:
                await self.guard.__aenter__()
            self._running = True
            self._letters = _letters(self._dead_letters)
            try:
                for subscriber, needs in guarded:
                    await self._begin(subscriber, needs)
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Drain: nothing starts any more, running handlers may end for `drain_timeout`, and what is finished is settled. Idempotent.

        An app does that by itself. Without one it must be called before the broker stops.
        """
        if not self._running:
            return
        self._running = False
        runs, self._runs = self._runs, []
        for station in self._stations.values():
            station.released()
        try:
            await self.guard.finish({run.worker: run.task for run in runs if run.task is not None})
        finally:
            if self._owns_guard:
                await self.guard.__aexit__(None, None, None)

    async def station_of(self, subscriber: Any, raw: Any) -> Station | None:
        """Return where a message of a subscriber meets the guard that had no station before: begin if nobody has done so. None means that
        it is not guarded, or its message not real.
        """
        if self._running or subscriber is None:
            return None
        kind = self._kind_of_subscriber(subscriber)
        if kind is None or not kind.is_real(subscriber, raw):
            return None
        try:
            await self.start()
        except HoldgateError as error:
            log.error("%s; FastStream stops", error)  # noqa: TRY400 - its text says what is wrong; where it was found does not help
            raise StopApplication from error
        station = self._stations.get(subscriber)
        return station if station is not None and station.met(raw) else None

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    async def _on_startup(self) -> None:
        await self.start()

    def _kind_of_subscriber(self, subscriber: Any) -> GuardedBroker | None:
        return next((kind for broker, kind in self._brokers.items() if subscriber in broker.subscribers), None)

    def _find_guarded(self) -> list[tuple[Any, NeedsSetting]]:
        """Return the subscribers that have needs. Raises SettingsError for needs that belong to none."""
        by_name = named_needs(self._needs)
        found: list[tuple[Any, NeedsSetting]] = []
        used: set[str] = set()
        read: set[str] = set()
        for broker, kind in self._brokers.items():
            for subscriber in broker.subscribers:
                if not subscriber.calls:
                    continue
                names = kind.names_of(subscriber)
                read.update(names or ())
                if by_name is None:
                    found.append((subscriber, self._needs))
                elif names is None:
                    used.update(by_name)
                    found.append((subscriber, by_name))
                elif several := _of_names(by_name, names):
                    used.update(several)
                    found.append((subscriber, several))
        if by_name is not None and set(by_name) - used:
            raise SettingsError(
                f"needs has {sorted(set(by_name) - used)}, and the app's subscribers read {sorted(read)}: correct the names"
            )
        if not found:
            raise SettingsError(
                "no subscriber of the app has needs, so nothing would be held: import the subscribers before the app starts"
            )
        return found

    def _check(self, subscriber: Any) -> tuple[GuardedBroker, Collection[str] | None]:
        """Return what a subscriber is of, and the names that it reads. Raises SettingsError for one that cannot be held."""
        kind = cast("GuardedBroker", self._kind_of_subscriber(subscriber))
        names = kind.names_of(subscriber)
        _check_policy(subscriber, names)
        kind.check(subscriber, names)
        return kind, names

    async def _begin(self, subscriber: Any, needs: NeedsSetting) -> None:
        kind, names = self._check(subscriber)
        station = kind.station(subscriber, names, self._consumer_timeout)
        run = GuestRun(self.guard, station, self._plan(station, needs), station.granted)
        station.joined(run)
        self._stations[subscriber] = station
        self._runs.append(run)
        await run.open()
        if run.task is not None:
            run.task.add_done_callback(partial(self._run_ended, station))

    def _plan(self, station: StationedIntake, needs: NeedsSetting) -> RunSettings:
        guard = self.guard
        return plan_run(
            station,
            needs,
            order=None,
            key=None,
            concurrency=station.concurrency,
            span=1000,
            retry=self._retry,
            dead_letters=self._letters if station.can_dead_letter else None,
            timeout=self._timeout,
            declared=guard.dependencies.values(),
        )

    def _run_ended(self, station: StationedIntake, task: asyncio.Task[None]) -> None:
        """Stop the app because a run cannot go on: what it would hold is paused, and nobody would notice."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s: its run ended with %s: %s; FastStream stops", station.name, type(error).__name__, error)
            if self._app is not None:
                self._app.exit()


def _letters(given: DeadLetters | Callable[[], DeadLetters] | None) -> DeadLetters | None:
    return given() if callable(given) else given


def _kind_of(broker: object) -> GuardedBroker:
    """Return what guards this kind of broker. Raises SettingsError for one that cannot be guarded."""
    kinds: list[GuardedBroker] = []
    with suppress(ImportError):
        from holdgate.integrations.faststream.kafka import KAFKA  # noqa: PLC0415 - only where aiokafka is

        kinds.append(KAFKA)
    with suppress(ImportError):
        from holdgate.integrations.faststream.rabbitmq import RABBITMQ  # noqa: PLC0415 - only where aio-pika is

        kinds.append(RABBITMQ)
    for kind in kinds:
        if kind.is_for(broker):
            return kind
    where = type(broker).__module__.split(".")
    if "confluent" in where:
        why = "FastStream's Confluent consumer has no pause, and its client is out of reach; use faststream.kafka.KafkaBroker"
    elif hasattr(broker, "broker"):  # that of a FastAPI app
        why = (
            "it has a broker of its own: give that, FastStreamGuard(router.broker, ...), start the guard in router.after_startup,"
            " and stop it in router.on_broker_shutdown"
        )
    elif hasattr(broker, "subscriber"):
        why = "it is a router: include it in a broker, and give the app or that broker"
    else:
        why = "it must be a FastStream app, a KafkaBroker of faststream.kafka, or a RabbitBroker"
    raise SettingsError(f"{type(broker).__name__} of {where[0]} cannot be guarded: {why}")


def _of_names(by_name: Mapping[str, OneNeeds], names: Iterable[str]) -> dict[str, OneNeeds]:
    return {name: by_name[name] for name in names if name in by_name}


def _check_policy(subscriber: Any, names: Collection[str] | None) -> None:
    policy = subscriber.ack_policy
    if policy is AckPolicy.MANUAL:
        return
    what = "+".join(names or subscriber.topic_names)
    if policy is AckPolicy.ACK_FIRST:
        why = "settles a message before its handler has run (it is FastStream's default on Kafka), so a message that is held would be lost"
    else:
        why = "settles messages itself, and the guard must: it knows when one is done"
    raise SettingsError(f"the subscriber of {what} has AckPolicy.{policy.name}, which {why}; give it ack_policy=AckPolicy.MANUAL")
