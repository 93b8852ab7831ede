"""A fleet: workers that share an ordered log agree on the outages of what they all need. Without I/O; runtime/fleet.py has the log."""

from __future__ import annotations

from holdgate.fleet.events import (
    ConductorChanged,
    FleetEvent,
    FleetLogCameBack,
    FleetLogFellSilent,
    FleetMembersChanged,
    FleetOpened,
    FleetOrdered,
    FleetRecovered,
    LocalCauseFound,
)
from holdgate.fleet.member import FleetMember
from holdgate.fleet.settings import FleetSettings
from holdgate.fleet.snapshot import AgreementSnapshot, FleetSnapshot, MemberSnapshot, SharerSnapshot
from holdgate.fleet.words import Word

__all__ = [
    "AgreementSnapshot",
    "ConductorChanged",
    "FleetEvent",
    "FleetLogCameBack",
    "FleetLogFellSilent",
    "FleetMember",
    "FleetMembersChanged",
    "FleetOpened",
    "FleetOrdered",
    "FleetRecovered",
    "FleetSettings",
    "FleetSnapshot",
    "LocalCauseFound",
    "MemberSnapshot",
    "SharerSnapshot",
    "Word",
]
