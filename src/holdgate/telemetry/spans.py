"""OpenTelemetry: a consumer span around each attempt, by the semantic conventions for messaging.

    from holdgate.telemetry.spans import Spans

    async with Guard(..., spans=Spans()) as guard: ...

The conventions are those of version 1.44.0 (opentelemetry-semantic-conventions 0.66b2), in which all of `messaging.*` is still in
development. Their words are copied here, because the package pins the SDK, and only `opentelemetry-api` is needed; a test compares them
with the package.

- `process {destination}`, kind CONSUMER, is around one attempt of a handler, a fallback, or a block of the loop form. A message that is
  held has no span: nothing processes it.
- A link leads to the span in which the message was produced, as the propagator finds it in the headers. It is a link and no parent, because
  an attempt may come hours later, in a trace of its own; a batch has a link for each of its messages.
- A circuit's transition is an event of the spans whose messages need that dependency: of those that are open, and of the attempt that has
  caused it. So an ended span is finished a moment later, with the time at which it ended.
- Nothing of a message is in a span: no body, no key, no header, and of an exception its type alone.

A span costs what the SDK takes for it, some 40 us, and a guard takes 4 us for a message. So spans are bounded by their rate. What is above
it has none and costs nothing: a lane asks once for a slice of messages, and takes the bare handler if no more may begin. A sampler of
the SDK would cost 10 us for each message that it leaves out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from holdgate.core.causes import named
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitReset
from holdgate.core.states import State
from holdgate.core.validation import count
from holdgate.errors import MissingExtra
from holdgate.flow.events import AnyEvent
from holdgate.flow.message import AnyDelivery, Partition, Source, type_name
from holdgate.ports import Attempted

try:
    from opentelemetry import context as otel_context
    from opentelemetry import propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as error:
    raise MissingExtra("opentelemetry-api is not installed: pip install 'holdgate[otel]'") from error

_log = logging.getLogger("holdgate")

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"

# The conventions' words. tests/telemetry/test_spans.py compares them with the package.
SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
GROUP = "messaging.consumer.group.name"
KAFKA_OFFSET = "messaging.kafka.offset"
RABBITMQ_TAG = "messaging.rabbitmq.message.delivery_tag"
BATCH_COUNT = "messaging.batch.message_count"
ERROR_TYPE = "error.type"

# Words of our own.
ATTEMPT = "holdgate.attempt"
FALLBACK = "holdgate.fallback"
INTERRUPTED = "holdgate.interrupted"
TRANSITION = "holdgate.circuit.transition"

# How much of a second's spans may begin together, in seconds.
_PORTION = 0.1

# Without an SDK no span is anything, and each costs a few microseconds to find out. A program may set one up after its worker has begun, so
# it is looked for again (seconds).
_NOBODY_FOR = 1.0

# The SDK's own limit of links; a batch may be larger.
_LINKS = 128

_TO: Mapping[type, State] = {
    CircuitOpened: State.OPEN,
    CircuitHalfOpened: State.HALF_OPEN,
    CircuitClosed: State.CLOSED,
    CircuitReset: State.CLOSED,
}


class _Headers(Getter[Mapping[str, Any]]):
    """Reads the text headers of a message. Kafka's are bytes, RabbitMQ's are of any type."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(key)
        if isinstance(value, bytes):
            return [value.decode("ascii", "replace")]
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return list(carrier)


_HEADERS = _Headers()


class _Attempt:
    """One span that has begun: its token of the context, what its message needs, and when it ended; 0 means that it has not."""

    __slots__ = ("ended", "needs", "span", "token")

    def __init__(self, span: Span, needs: Sequence[str], token: Any) -> None:
        self.span = span
        self.needs = needs
        self.token = token
        self.ended = 0


class Spans:
    """Makes the spans of one guard: `Guard(spans=Spans())`.

    - `tracer_provider`: None means the program's own, as set with `opentelemetry.trace.set_tracer_provider`.
    - `at_most`: how many spans may begin in a second, above 0. A slice of quick messages may go over it, and then the next ones wait for
      that. None means one for every attempt, whatever it costs.
    - `propagator`: what finds the producer's context in the headers. None means the program's own, `opentelemetry.propagate`.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        at_most: int | None = 100,  # about one hundredth of a core, and more than anybody looks at; a slower worker has all of its spans
        propagator: Any = None,
    ) -> None:
        self._tracer = trace.get_tracer("holdgate", tracer_provider=tracer_provider, schema_url=SCHEMA)
        self._extract = propagate.extract if propagator is None else propagator.extract
        # Spread over the second: a burst of all of them at its beginning would be noticed.
        self._now = time.monotonic
        rate: float = math.inf if at_most is None else count("at_most", at_most)
        self._portion = max(1.0, rate * _PORTION)
        self._each = 0.0 if at_most is None else 1 / rate
        self._every = 0.0 if at_most is None else self._portion * self._each
        self._left = self._portion
        self._full_at = self._now() + self._every  # when as many may begin again
        self._open: dict[_Attempt, None] = {}
        self._ended: list[_Attempt] = []
        self._is_scheduled = False
        self._nobody = False  # no SDK was there at the last look
        self._has_told = False
        self._about: dict[tuple[Source, str], tuple[str, dict[str, Any]]] = {}

    def wanted(self) -> bool:
        """Return whether another span may begin now."""
        if self._left > 0:
            return True
        now = self._now()
        if now < self._full_at - self._left * self._each:  # what has gone over it is waited for as well
            return False
        self._left, self._full_at = self._portion, now + self._every
        self._nobody = False
        return True

    def begin(self, attempted: Attempted, message: AnyDelivery | Sequence[AnyDelivery], *, fallback: bool = False) -> object | None:
        """Begin the span of an attempt, and make it the current one. None means that nobody wants spans."""
        if self._nobody:
            return None
        self._finish()
        self._left -= 1
        name, about = self._about.get((attempted.source, attempted.group)) or self._describe(attempted)
        attributes = {**about, **_position(message)}
        if fallback:
            attributes[FALLBACK] = True
        try:
            span = self._tracer.start_span(
                name, context=Context(), kind=SpanKind.CONSUMER, attributes=attributes, links=self._links(message)
            )
        except Exception as error:  # noqa: BLE001 - somebody else's code, and a message must not fail by it
            self._tell(error)
            return None
        if not span.get_span_context().is_valid:  # no SDK is set up
            self._nobody = True
            self._left, self._full_at = 0.0, self._now() + _NOBODY_FOR
            return None
        attempt = _Attempt(span, attempted.needs, otel_context.attach(trace.set_span_in_context(span)))
        if span.is_recording():
            self._open[attempt] = None
        return attempt

    def end(self, attempt: object, error: BaseException | None, *, interrupted: bool = False) -> None:
        """End the span of an attempt. `interrupted` means that the guard has cut the handler off, which is nobody's error."""
        if not isinstance(attempt, _Attempt):
            return
        otel_context.detach(attempt.token)
        if attempt not in self._open:
            attempt.span.end()
            return
        attempt.ended = time.time_ns()
        if interrupted:
            attempt.span.set_attribute(INTERRUPTED, True)  # noqa: FBT003 - the client's call
        elif error is not None:
            attempt.span.set_attribute(ERROR_TYPE, named(error, type_name))
            attempt.span.set_status(Status(StatusCode.ERROR))
        self._ended.append(attempt)
        if not self._is_scheduled:
            self._schedule()

    def announced(self, event: AnyEvent) -> None:
        """Note a transition in the spans of those who need that dependency."""
        if not isinstance(event, CircuitOpened | CircuitHalfOpened | CircuitClosed | CircuitReset):
            return
        attributes = {"dependency": event.name, "from": event.previous.value, "to": _TO[type(event)].value}
        if isinstance(event, CircuitOpened):
            attributes["reason"] = event.reason.value
        for attempt in self._open:
            if event.name in attempt.needs:
                attempt.span.add_event(TRANSITION, attributes, timestamp=attempt.ended or None)

    def _schedule(self) -> None:
        try:
            asyncio.get_running_loop().call_soon(self._finish_later)
            self._is_scheduled = True
        except RuntimeError:  # no loop runs: the interpreter clears up
            self._finish()

    def _finish_later(self) -> None:
        self._is_scheduled = False
        self._finish()

    def _finish(self) -> None:
        """Finish the spans that have ended: what they have caused is known by now."""
        if self._ended:
            ended, self._ended = self._ended, []
            for attempt in ended:
                self._open.pop(attempt, None)
                try:
                    attempt.span.end(attempt.ended)
                except Exception as error:  # noqa: BLE001 - as above
                    self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._has_told:
            self._has_told = True
            _log.warning(
                "spans: %s was raised by a span processor, a sampler or a propagator: the messages go on without", type(error).__name__
            )

    def _describe(self, attempted: Attempted) -> tuple[str, dict[str, Any]]:
        source = attempted.source
        attributes: dict[str, Any] = {OPERATION_NAME: "process", OPERATION_TYPE: "process", DESTINATION: source.name}
        if isinstance(source, Partition):
            attributes |= {SYSTEM: "kafka", PARTITION: str(source.number)}
        else:
            attributes |= {SYSTEM: "rabbitmq"}
        if attempted.group:
            attributes[GROUP] = attempted.group
        found = self._about[source, attempted.group] = f"process {source.name}", attributes
        return found

    def _links(self, message: AnyDelivery | Sequence[AnyDelivery]) -> Sequence[Link]:
        return tuple(self._producers([message] if not isinstance(message, Sequence) else message[:_LINKS]))

    def _producers(self, messages: Iterable[AnyDelivery]) -> Iterable[Link]:
        for each in messages:
            headers = each.headers
            if headers:
                producer = trace.get_current_span(self._extract(headers, Context(), _HEADERS)).get_span_context()
                if producer.is_valid:
                    yield Link(producer)


def _position(message: AnyDelivery | Sequence[AnyDelivery]) -> dict[str, Any]:
    if isinstance(message, Sequence):
        return {BATCH_COUNT: len(message)}
    where = KAFKA_OFFSET if isinstance(message.source, Partition) else RABBITMQ_TAG
    return {where: message.position, ATTEMPT: message.attempt}
