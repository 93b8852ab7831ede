"""Messages of one source that need different things: what each needs, and how those that can go pass those that cannot.

Where every message of a source needs the same, an open circuit holds the source. Where they differ (`ByMessage` in policy.py), each message
waits on the waiting list for what it needs itself, and the others pass it. Three rules keep that within bounds.

- *Two spans.* Work may run `span` messages ahead of the oldest unfinished one that is not passed: that bounds what one stuck message piles
  up, as ever. A message that waits for a circuit which is open, or which tries again, does not count there: an outage would end all other
  work after a thousand messages. So work may run `held_span` ahead of the oldest unfinished message of all. That bounds how many wait here,
  and what Kafka would repeat after a crash, since it commits up to the oldest unfinished one. When it is used up the source is held.
- *The inbox stays free.* What is passed does not count as waiting in the inbox, nor do the messages of its key behind it: a full inbox
  would end the fetching, and so the others. It counts in the bound on memory (memory.py) all the same.
- *A window grows.* A broker that counts unsettled messages is told how many are passed (`SourcePlan.passed`), in steps of half an inbox, so
  that up to half of a window waits for circuits, and the rest is for the others.

With order="key" a key stays in order: what is behind a message that waits for its circuit waits too, whatever it needs. A message that was
passed stays so to its end. When its circuit is back, thousands of them wait for lanes, and each second lane is the others' (state.py).

With order="source" nothing passes anything. The source is held behind its first message, and the log says that the order is why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from holdgate.flow.inbox import BatchInbox, FreeInbox, Inbox, KeyInbox, Order, SourceInbox, Span
from holdgate.flow.unclaimed import RunResults

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.message import AnyDelivery, Source
    from holdgate.flow.policy import Needs


class MessageNeeds:
    """What messages of one kind need: all that name the same dependencies share one, and are compared with one another (`results`).

    `error` is set for a message whose needs are not known: it starts with no permit, and ends with that error instead of its handler.
    """

    __slots__ = ("error", "gates", "results")

    keys: tuple[Any, ...] = ()  # keyed.py has those of messages with keys

    def __init__(self, gates: tuple[Gate, ...], error: Exception | None = None) -> None:
        self.gates = gates
        self.results = RunResults()
        self.error = error


class Kinds:
    """The kinds of messages of one run: those with the same needs, and with the same handler, are compared with one another.

    `apart`: each topic or queue has its own handler. What a kind has learned outlives an assignment.
    """

    __slots__ = ("_apart", "_by_gates", "_needs", "_results")

    def __init__(self, needs: Needs, *, apart: bool) -> None:
        self._needs = needs
        self._apart = apart
        self._results: dict[tuple[str, tuple[str, ...] | None], RunResults] = {}
        self._by_gates: dict[tuple[str, tuple[Gate, ...]], MessageNeeds] = {}

    def results_of(self, source: Source) -> RunResults:
        """Return what the messages of this source are compared with: those of every source with the same handler and the same needs."""
        return self._results.setdefault((source.name if self._apart else "", self._needs.of(source)), RunResults())

    def needing(self, gates: tuple[Gate, ...], source: Source) -> MessageNeeds:
        """Return what messages of this source share that need these gates."""
        kind = source.name if self._apart else "", gates
        return self._by_gates.get(kind) or self._by_gates.setdefault(kind, MessageNeeds(gates))


class PassingSpan(Span):
    """A span of `held_span` messages from the oldest unfinished one, and one of `span` from the oldest that is not passed."""

    __slots__ = ("_near", "passed")

    def __init__(self, span: int, held_span: int) -> None:
        super().__init__(held_span)
        self._near = Span(span)
        self.passed: set[int] = set()

    @property
    def _reserve(self) -> int:
        return 0  # the nearer span has the witnesses

    def add(self) -> int:
        self._near.add()
        return super().add()

    def allows(self, serial: int) -> bool:
        return self._near.allows(serial) and not self.is_used_up(serial)

    def is_used_up(self, serial: int) -> bool:
        """Return whether that arrival may not start because too much has passed the oldest one."""
        return not super().allows(serial)

    def let_pass(self, serial: int) -> None:
        """Let later arrivals pass this one, from now to its end."""
        if serial not in self.passed:
            self.passed.add(serial)
            self._near.finish(serial)

    def failed(self, serial: int) -> None:
        if serial not in self.passed:
            self._near.failed(serial)

    def finish(self, serial: int) -> None:
        super().finish(serial)
        if serial in self.passed:
            self.passed.remove(serial)
        else:
            self._near.finish(serial)


class PassingInbox(Inbox, Protocol):
    """An inbox whose messages may pass one another. What is passed, and what stands behind it, does not count as waiting."""

    @property
    def passed(self) -> int:
        """Return how many unfinished messages are passed, those behind them included."""
        ...

    @property
    def is_used_up(self) -> bool:
        """Return whether the next one may not start because too much has passed the oldest one."""
        ...

    def let_pass(self, delivery: AnyDelivery) -> bool:
        """Let others pass a delivery that was taken, from now to its end; True if another one may start now."""
        ...


class PassingFreeInbox(FreeInbox):
    """`FreeInbox`, in which others pass a message that waits for its circuits."""

    __slots__ = ()

    _span: PassingSpan

    def __init__(self, span: int, held_span: int) -> None:
        super().__init__(span)
        self._span = PassingSpan(span, held_span)

    @property
    def passed(self) -> int:
        return len(self._span.passed)

    @property
    def is_used_up(self) -> bool:
        return bool(self._queue) and self._span.is_used_up(self._queue[0].serial)

    def let_pass(self, delivery: AnyDelivery) -> bool:
        self._span.let_pass(delivery.serial)
        return self._may_start()


class PassingKeyInbox(KeyInbox):
    """`KeyInbox`, in which others pass a key whose first message waits for its circuits."""

    __slots__ = ("_left", "_passed_keys", "behind_passed")

    _span: PassingSpan

    def __init__(self, span: int, held_span: int) -> None:
        super().__init__(span)
        self._span = PassingSpan(span, held_span)
        self._passed_keys: set[object] = set()  # those whose message in work is passed
        self._left: dict[object, int] = {}  # by key: how many of those behind, from the first on, are passed with it
        self.behind_passed = 0

    @property
    def passed(self) -> int:
        return len(self._span.passed)

    @property
    def is_used_up(self) -> bool:
        return bool(self._ready) and self._span.is_used_up(self._ready[0][0])

    def put(self, deliveries: Iterable[AnyDelivery]) -> None:
        deliveries = list(deliveries)
        super().put(deliveries)
        for key in dict.fromkeys(delivery.order_key for delivery in deliveries):
            if key in self._passed_keys:
                self._leave_behind(key)

    def let_pass(self, delivery: AnyDelivery) -> bool:
        self._span.let_pass(delivery.serial)
        key = delivery.order_key
        if key is not None and key not in self._passed_keys:
            self._passed_keys.add(key)
            self._leave_behind(key)
        return self._may_start()

    def done(self, delivery: AnyDelivery) -> bool:
        key = delivery.order_key
        self._passed_keys.discard(key)
        if key in self._left:  # the next of the key is about to be ready: it waits like any other
            self.behind_passed -= 1
            self.waiting += 1
            self._left[key] -= 1
            if not self._left[key]:
                del self._left[key]
        return super().done(delivery)

    def clear(self) -> None:
        super().clear()
        self._passed_keys.clear()
        self._left.clear()
        self.behind_passed = 0

    def _leave_behind(self, key: object) -> None:
        """Let everything behind this key's first message be passed with it."""
        behind: deque[AnyDelivery] = self._behind[key]
        before = self._left.get(key, 0)
        for delivery in islice(behind, before, None):
            self._span.let_pass(delivery.serial)
        if behind:
            self._left[key] = len(behind)
        self.waiting -= len(behind) - before
        self.behind_passed += len(behind) - before


def new_inboxes(order: Order, batch: int | None, span: int, held_span: int, *, by_message: bool) -> tuple[Inbox, PassingInbox | None]:
    """Return a new inbox of this order, and the same once more if messages of it pass one another `by_message`.

    `batch` is how many messages a handler gets at a time; None means one. The spans count how far work may run ahead.
    """
    if batch is not None:
        return BatchInbox(batch, None if order == "source" else span), None
    if order == "source":
        return SourceInbox(), None
    by_key = order == "key"
    if not by_message:
        return KeyInbox(span) if by_key else FreeInbox(span), None
    passing = (PassingKeyInbox if by_key else PassingFreeInbox)(span, held_span)
    return passing, passing
