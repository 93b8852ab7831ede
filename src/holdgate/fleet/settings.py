"""The settings of a fleet: frozen, checked at construction, durations in seconds. What workers must agree on is not among them.

The times of the beats, of a takeover and of a stage are constants beside the rules that they belong to: two workers of one fleet with
different ones would judge each other wrongly, and a rolling deployment is just that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from holdgate.core import validation
from holdgate.errors import SettingsError
from holdgate.fleet.records import LONGEST_NAME, is_name

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """How workers that share a log agree.

    - `name`: of the fleet, in each of its records. Workers with another name on the same log are none of its business.
    - `quorum`: from how many workers on failures are one outage for all, from 2. A worker alone never opens for others.
    - `open_share`: a wait of the fleet as a ratio of the time since the outage began, in (0, 1]. A larger one of the dependency's own
      settings holds.
    - `open_duration_max`: the longest wait between two probes of the fleet, seconds above 0, or a timedelta. One probe serves all, so they
      may be frequent. A shorter one of the dependency's own settings holds.
    - `silence`: after how many seconds without a word from the log a worker goes by its own rules, above 0, or a timedelta.

    Raises SettingsError, with the value and the remedy.
    """

    name: str = "fleet"
    quorum: int = 2  # one worker's failures may be its own network; those of two are most likely not
    open_share: float = 0.5  # one probe serves all, and 25 of them reach through ten minutes: no more than the opening costs
    open_duration_max: float = 30.0  # one probe every half minute for the whole fleet costs nothing, and all are back in 40 seconds
    silence: float = 6.0  # three beats: one may be late and one lost

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str = ...,
            quorum: int = ...,
            open_share: float = ...,
            open_duration_max: float | timedelta = ...,
            silence: float | timedelta = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.name), str) or not is_name(self.name):
            raise SettingsError(f"fleet.name must be a text of 1 to {LONGEST_NAME} bytes in one line, got {self.name!r}")
        if validation.count("fleet.quorum", self.quorum) < 2:  # noqa: PLR2004 - the number is in the text
            raise SettingsError(f"fleet.quorum must be at least 2, got {self.quorum}: a worker alone has its own circuit for that")
        object.__setattr__(self, "open_share", validation.ratio("fleet.open_share", self.open_share))
        for each in ("open_duration_max", "silence"):
            object.__setattr__(self, each, validation.seconds(f"fleet.{each}", getattr(self, each)))
