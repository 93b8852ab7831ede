"""What happens in the demo, and when: every number of the story in one place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from holdgate.errors import SettingsError

# The two kinds of work. Orders call the payment service, receipts call the mail service; both wait in topics of the same names.
ORDERS = "orders"
RECEIPTS = "receipts"
KINDS = (ORDERS, RECEIPTS)
PAYMENTS = "payments"
EMAIL = "email"

# Handlers that either side runs at once. Small enough that each step of the ramp (1, 2, 4, 8, 16) can be seen.
CONCURRENCY = 16

# Per topic; as many as the embedded broker makes, and enough to see that partitions are held one by one.
PARTITIONS = 4
# Distinct message keys: enough that sixteen handlers always find one that is free.
KEYS = 200

# The story is written for this length and stretched or squeezed to the length asked for. With a join of 3 s and the way out it ends
# well inside 45 s.
STORY_SECONDS = 30.0
# Below this the circuit has no time to open, probe, ramp and close before the end.
SHORTEST = 4.0
LONGEST = 600.0


class Phase(Enum):
    """How the payment service is: UP at full capacity, DOWN (refuses every call), WEAK (answers again, with little capacity)."""

    UP = "up"
    DOWN = "down"
    WEAK = "weak"


@dataclass(frozen=True, slots=True)
class Scenario:
    """The timetable of one run; every time is in seconds since traffic began.

    `seconds` is the length of the run, from 4 to 600. Raises `SettingsError` outside of that.
    """

    seconds: float = STORY_SECONDS

    def __post_init__(self) -> None:
        if not SHORTEST <= self.seconds <= LONGEST:
            raise SettingsError(f"the demo takes from {SHORTEST:g} to {LONGEST:g} seconds, not {self.seconds:g}: choose another --seconds")

    @property
    def stretch(self) -> float:
        """The length of this run over the length that the story was written for."""
        return self.seconds / STORY_SECONDS

    @property
    def down_at(self) -> float:
        """When payments fails: late enough that a healthy picture is seen first."""
        return 6.0 * self.stretch

    @property
    def weak_at(self) -> float:
        """When payments answers again, with little capacity: ten seconds of outage show three growing waits between probes."""
        return 16.0 * self.stretch

    @property
    def up_at(self) -> float:
        """When payments is at full capacity again: four seconds of weakness are enough for a stampede to do its harm."""
        return 20.0 * self.stretch

    @property
    def quiet_at(self) -> float:
        """When the last message is produced, so that the backlog can be seen to reach zero before the end."""
        return 27.0 * self.stretch

    @property
    def orders_per_second(self) -> float:
        """Below a third of what sixteen handlers do in a second, so that a backlog drains about as fast as it grew."""
        return 40.0

    @property
    def receipts_per_second(self) -> float:
        """A trickle: enough to show at any moment whether receipts still flow."""
        return 10.0

    @property
    def open_duration(self) -> float:
        """The first wait of an open circuit. Five seconds by default in the library; a demo has no time for that."""
        return 1.0 * self.stretch

    @property
    def open_duration_max(self) -> float:
        """The longest wait: longer, and the recovery could pass unseen before the next probe."""
        return 2.0 * self.stretch

    def payments(self, now: float) -> Phase:
        """How the payment service is at `now`."""
        if self.down_at <= now < self.weak_at:
            return Phase.DOWN
        return Phase.WEAK if self.weak_at <= now < self.up_at else Phase.UP

    def email(self, _now: float) -> Phase:
        """How the mail service is: it never fails, and only a shared fate could slow it down."""
        return Phase.UP
