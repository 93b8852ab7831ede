"""After a fault run: check its ledger against the invariants."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Literal

from tests.ledger import circuits, messages, progress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tests.ledger.ledger import Entry, Ledger

# Between a transition and the line that an observer writes about it lies one turn of a busy event loop.
GRACE = 0.05
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What this run may cost.

    `committed`: what the broker has for the group at the end, by topic and partition. `complete`: everything produced must have been
    processed (False for a run that ends in the middle). `order`: what is kept in order; None: nothing. `duplicates`: how many may be
    processed again, 0 without a crash or a rebalance. `poison`: the dead letters, exactly. `wasted`: calls that the dependency may have
    seen while down; None: any number. `lanes`: how many handlers a process may run at once, which bounds what each may waste; None: not
    judged. `assignments`: how often partitions may have been assigned; None: any number. `in_hand`: the most deliveries of one source
    that a worker may have in memory, `growth`: MiB that a hold may add, `recovers_within`: seconds from a healthy dependency to closed
    circuits; None: not judged. `grace`: seconds between what happens and what an observer writes. `fleet`: a
    worker's limit is its share of a fleet's, which it has in turns with others, so that only the sum
    doubles. `takeovers`: the group's coordinator may move to another broker, which may be behind for one look.
    """

    committed: Mapping[tuple[str, int], int] = field(default_factory=dict)
    complete: bool = True
    order: Literal["source", "key"] | None = "source"
    duplicates: int = 0
    poison: Collection[tuple[str, int, int]] = ()
    wasted: int | None = None
    lanes: int | None = None
    assignments: int | None = None
    in_hand: int | None = None
    growth: float | None = None
    recovers_within: float | None = None
    grace: float = GRACE
    fleet: bool = False
    takeovers: bool = False


def violations(entries: Sequence[Entry], expected: Expected) -> list[str]:
    """Return a sentence for each violation, empty when all invariants hold."""
    found = [
        messages.called_but_not_produced(entries),
        messages.committed_too_far(entries, expected.committed),
        messages.acked_unprocessed(entries),
        messages.commits_backwards(entries, takeovers=expected.takeovers),
        messages.duplicates(entries, expected.duplicates),
        messages.wrong_dead_letters(entries, expected.poison),
        messages.called_by_a_former_owner(entries, expected.grace),
        circuits.delivered_while_held(entries),
        circuits.called_while_held(entries, expected.grace),
        circuits.called_while_open(entries, expected.grace),
        circuits.above_the_limit(entries, expected.grace),
    ]
    if not expected.fleet:
        found.append(circuits.limit_jumps(entries))
    if expected.complete:
        found.append(messages.lost(entries))
    if expected.order is not None:
        found.append(messages.out_of_order(entries, by_key=expected.order == "key"))
    if expected.wasted is not None:
        found.append(circuits.too_many_wasted(entries, expected.wasted))
    if expected.lanes is not None:
        found.append(circuits.wasted_beyond_the_bound(entries, expected.lanes))
    if expected.assignments is not None:
        found.append(circuits.too_many_assignments(entries, expected.assignments))
    found.extend(_progress(entries, expected))
    return list(chain.from_iterable(found))


def _progress(entries: Sequence[Entry], expected: Expected) -> Iterator[Iterator[str]]:
    if expected.in_hand is not None:
        yield progress.too_much_in_hand(entries, expected.in_hand)
    if expected.growth is not None:
        yield progress.grown_while_held(entries, expected.growth)
    if expected.recovers_within is not None:
        yield progress.not_recovered(entries, expected.recovers_within)


def check(ledger: Ledger, expected: Expected) -> None:
    """Raise AssertionError with what is wrong, when an invariant does not hold or the ledger shows that nothing happened."""
    entries = ledger.entries()
    assert any(entry.kind == "processed" for entry in entries), "the ledger shows no processed message: the run proves nothing"
    wrong = violations(entries, expected)
    assert not wrong, f"{len(wrong)} violations:\n" + "\n".join(wrong[:SHOWN])
