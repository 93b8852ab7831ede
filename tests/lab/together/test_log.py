from __future__ import annotations

from random import Random

from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.together.log import GIVES_UP, HOP, LOOK_BACK, Deliver, Link, SharedLog
from holdgate_lab.together.scenario import LogFault


class Place:
    """A log with links, and what each of them has read, with the second."""

    def __init__(self, *faults: LogFault, links: int = 2) -> None:
        self.schedule = Schedule()
        self.log = SharedLog(self.schedule, faults)
        self.read: list[list[tuple[float, bytes]]] = [[] for _ in range(links)]
        self.links = [Link(self.log, number, Random(number), self._reader(number)) for number in range(links)]
        for link in self.links:
            link.open()

    def _reader(self, number: int) -> Deliver:
        return lambda records: self.read[number].extend((self.schedule.now, data) for data in records)

    def send(self, number: int, at: float, *records: bytes) -> list[tuple[float, bool]]:
        """Send then, and return what the writer will hear."""
        heard: list[tuple[float, bool]] = []
        self.schedule.at(at, lambda: self.links[number].send(records, lambda done: heard.append((self.schedule.now, done))))
        return heard

    def run(self, until: float) -> None:
        while self.schedule.step(until):
            pass

    def seen(self, number: int) -> list[bytes]:
        """What this link has read."""
        return [data for _, data in self.read[number]]


def test_all_read_the_same_in_the_same_order() -> None:
    """Whoever wrote it, and however late one of the hops is."""
    place = Place(LogFault(at=0, kind="late", ratio=0.5), links=3)
    for number in range(60):
        place.send(number % 3, number * 0.1, b"%d" % number)
    place.run(60)
    assert len(place.seen(0)) == 60
    assert place.seen(0) == place.seen(1) == place.seen(2)


def test_a_writer_hears_when_it_is_in_the_log() -> None:
    """After a hop there and a hop back."""
    place = Place()
    heard = place.send(0, 1.0, b"a", b"b")
    place.run(2)
    ((at, done),) = heard
    assert done
    assert 1 + 2 * HOP[0] <= at <= 1 + 2 * HOP[1]
    assert place.seen(1) == [b"a", b"b"]


def test_who_is_cut_off_reads_it_afterwards() -> None:
    """In order; and what it writes meanwhile never arrives, which it hears late."""
    place = Place(LogFault(at=1, until=9, kind="cut", workers=(1,)))
    place.send(0, 2.0, b"for all")
    heard = place.send(1, 3.0, b"lost")
    place.run(20)
    assert heard == [(3.0 + GIVES_UP, False)]
    assert place.seen(0) == place.seen(1) == [b"for all"]
    assert place.read[1][0][0] > 9


def test_a_log_that_refuses_fails_at_once() -> None:
    """And one that may only be read is read."""
    for kind in ("refuse", "read_only"):
        place = Place(LogFault(at=1, until=9, kind=kind, workers=(1,)))  # type: ignore[arg-type]
        heard = place.send(1, 2.0, b"no")
        place.send(0, 3.0, b"yes")
        place.run(20)
        assert [done for _, done in heard] == [False]
        assert place.seen(1) == [b"yes"]


def test_a_lost_write_may_be_in_the_log() -> None:
    """Half of those that the writer takes for lost are; the others are there."""
    place = Place(LogFault(at=0, kind="lossy", ratio=1.0))
    heard = [place.send(0, 10.0 * number, b"%d" % number) for number in range(40)]
    place.run(500)
    failed = sum(not done for each in heard for _, done in each)
    assert 0 < 40 - len(place.seen(1)) < failed < 40


def test_who_comes_reads_what_was_lately() -> None:
    """And not what was wiped."""
    place = Place()
    place.send(0, 1.0, b"old")
    place.send(0, 40.0, b"new")
    place.run(45)
    assert place.log.recent() == [b"new"]
    assert LOOK_BACK < 39
    place.log.wipe()
    assert place.log.recent() == []


def test_what_is_read_twice_keeps_its_order() -> None:
    """Each record comes once more, after itself."""
    place = Place(LogFault(at=0, kind="twice", ratio=1.0))
    place.send(0, 1.0, b"a")
    place.send(0, 2.0, b"b")
    place.run(5)
    assert place.seen(1) == [b"a", b"a", b"b", b"b"]
