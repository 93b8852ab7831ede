"""What holds for a fleet whatever stands in its log, and whatever becomes of its workers."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fleet.world import NAME, World

from holdgate.core import CircuitSettings, Reason, State
from holdgate.core.guidance import OwnFacts, Phase
from holdgate.fleet import FleetMember, FleetSettings
from holdgate.fleet.agreement import Agreement, Course, ReadAs
from holdgate.fleet.records import Bad, Bye, Claim, FleetOrder, FleetRecord, Gone, Good, Here, Lead, Need, Rest, Said, StageTally, encode
from holdgate.fleet.shares import checksum

WORKERS = [f"{number:012x}" for number in range(1, 5)]
ME = "f" * 12
SMALL = st.integers(0, 6)
EACH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ONE_OF_US = st.sampled_from(WORKERS)
SAID = st.one_of(
    st.builds(Here, st.just(2), st.tuples(st.builds(Need, st.just(NAME), st.booleans(), st.integers(0, 4), SMALL))),
    st.builds(Bye),
    st.builds(Gone, ONE_OF_US),
    st.builds(Bad, st.just(NAME), st.integers(1, 9), st.booleans()),
    st.builds(Good, st.just(NAME)),
    st.builds(Claim, st.just(NAME), SMALL),
    st.builds(Rest, st.just(NAME), SMALL),
    st.builds(
        Lead,
        st.just(NAME),
        SMALL,
        st.sampled_from(["wait", "ramp", "up"]),
        SMALL,
        st.integers(0, 40),
        SMALL,
        st.sampled_from([checksum({}), *(checksum({worker: 4}) for worker in WORKERS), checksum(dict.fromkeys(WORKERS, 4))]),
        SMALL,
        SMALL,
    ),
    st.builds(StageTally, st.just(NAME), SMALL, SMALL, SMALL),
    st.builds(
        FleetOrder,
        st.just(NAME),
        st.sampled_from(["hold", "release", "force_open", "reset"]),
        SMALL,
        st.booleans(),
        SMALL,
        st.just(""),
        st.just(""),
    ),
)
RECORDS = st.lists(st.builds(FleetRecord, ONE_OF_US, st.integers(0, 100), SAID), max_size=60)

FACTS = OwnFacts(State.OPEN, None, 5, 5, 0, None, Reason.CONSECUTIVE_FAILURES, 0, 0, 0, 0, 0, 0)


def member(worker: str, now: float) -> FleetMember:
    """A member that has read a word of its own, so that it has seen everything from here on."""
    made = FleetMember(worker, FleetSettings(), lambda: 0.5)
    made.add(NAME, CircuitSettings(), now)
    made.heard(made.take_records(now), now)
    return made


@EACH
@given(RECORDS, st.lists(st.integers(1, 7), min_size=1, max_size=10), st.floats(-4000, 4000))
def test_who_has_read_the_same_agrees(records: list[FleetRecord], parts: list[int], offset: float) -> None:
    """Two members with clocks an hour apart, of which one reads in other portions, have the same epoch, conductor, limit and shares."""
    data = [encode("fleet", record) for record in records]
    first, second = member("e" * 12, 0.0), member(ME, offset)
    first.heard(data, 1.0)
    rest = list(data)
    for part in parts * len(data):
        second.heard(rest[:part], offset + 1.0)
        del rest[:part]
    seen, other = (each._concerns[NAME].agreement for each in (first, second))
    for field in ("course", "epoch", "conductor", "stage", "limit", "turn", "failed", "shares", "tallies"):
        assert getattr(seen, field) == getattr(other, field)
    assert set(seen.marks) == set(other.marks)


@EACH
@given(RECORDS)
def test_no_order_of_records_breaks_what_must_hold(records: list[FleetRecord]) -> None:
    """The epoch never falls, only its holder moves the fleet, shares stay within the limit, and no quorum means no opening."""
    agreement, now = Agreement(NAME, 0.0), 0.0
    for record in records:
        now += 0.01
        said, worker = record.said, record.worker
        before = (agreement.epoch, agreement.conductor, agreement.course, agreement.stage, dict(agreement.shares))
        bad = len(agreement.marks)
        if isinstance(said, Here):
            agreement.here(worker, said.needs[0], ReadAs(now, True, 2))
        elif isinstance(said, Bye | Gone):
            agreement.left(worker, now)
        else:
            agreement.read(record, ReadAs(now, True, 2))
        epoch, conductor, course, stage, shared = before
        assert agreement.epoch >= epoch
        assert agreement.stage >= stage
        assert sum(agreement.shares.values()) <= max(agreement.limit, sum(shared.values()))
        assert agreement.course is Course.RAMP or not agreement.shares
        if course is Course.WELL and agreement.course is not Course.WELL:
            assert bad >= 2 or isinstance(said, FleetOrder)
        if agreement.epoch == epoch and agreement.conductor != conductor:
            assert agreement.conductor is None or isinstance(said, Claim | Lead)
        if isinstance(said, Lead) and (said.epoch < epoch or (said.epoch == epoch and worker != conductor)):
            assert before == (agreement.epoch, agreement.conductor, agreement.course, agreement.stage, agreement.shares)


@EACH
@given(RECORDS, st.lists(st.binary(max_size=40), max_size=10))
def test_no_log_stops_a_member(records: list[FleetRecord], noise: list[bytes]) -> None:
    """Whatever it reads, a member looks, writes, counts time and shows itself; and what it writes others can read."""
    worker, now = member(ME, 0.0), 0.0
    for number, record in enumerate(records):
        now += 0.7
        worker.heard([encode("fleet", FleetRecord(record.worker, number, record.said)), *noise], now)
        guidance = worker.look(NAME, FACTS, True, 4, now)
        assert guidance.limit <= 4
        assert guidance.phase is Phase.LOCAL or guidance.until > now
        written = worker.take_records(now)
        worker.heard(written, now)
        worker.take_news()
        worker.snapshot(now)
        assert worker.next_deadline() is not None
    assert worker.snapshot(now).skipped == len(noise) * len(records)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1000), st.integers(0, 3), st.floats(0.0, 20.0), st.sampled_from(["killed", "frozen", "cut off"]))
def test_after_any_single_failure_the_fleet_comes_back(seed: int, victim: int, after: float, how: str) -> None:
    """Whoever is killed, frozen for 30 seconds or cut off from the log in an outage, whenever: the rest probes, and is back in time."""
    world = World(4, seed=seed, down=lambda now: 35 <= now < 47)
    world.run(35 + after)
    worker = world.workers[victim]
    if how == "killed":
        worker.alive = False
    elif how == "frozen":
        worker.frozen_until = world.now + 30
    else:
        worker.cut = True
    assert world.run_until_closed(47 + 75) is not None
    assert world.result.most_probes <= 2


def test_a_whole_course_is_well_again() -> None:
    """The strategy above reaches what it is for: records with which a fleet opens, climbs and recovers."""
    agreement = Agreement(NAME, 0.0)
    reading = ReadAs(1.0, True, 2)
    said: list[tuple[str, Said]] = [
        (WORKERS[0], Bad(NAME, 1, False)),
        (WORKERS[1], Bad(NAME, 1, False)),
        (WORKERS[0], Claim(NAME, 1)),
        (WORKERS[0], Lead(NAME, 1, "ramp", 1, 1, 0, checksum({}), 0, 0)),
        (WORKERS[0], Lead(NAME, 1, "up", 1, 1, 0, 0, 0, 0)),
    ]
    courses = []
    for worker, each in said:
        agreement.read(FleetRecord(worker, 1, each), reading)
        courses.append(agreement.course)
    assert courses == [Course.WELL, Course.WELL, Course.WAIT, Course.RAMP, Course.WELL]
