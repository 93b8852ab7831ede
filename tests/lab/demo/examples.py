"""Frames and reports with known numbers, for the tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace

from holdgate_lab.demo.report import Report, SideReport
from holdgate_lab.demo.scenario import DemoScenario, ServicePhase
from holdgate_lab.demo.screen import Frame, Kind, Mark, Note, SideFrame, Status
from holdgate_lab.demo.workers import Transition

HELD = SideFrame(
    status=Status("OPEN", "■", "bad", held=4, sources=8),
    in_flight=0,
    waiting=123,
    trend=1,
    processed=240,
    wasted=22,
    dead=0,
    receipt_wait=0.2,
    marks=(Mark(0.0, Kind.FINE), Mark(6.0, Kind.BAD)),
)
FAILING = SideFrame(
    status=Status("FAILING CALLS", "■", "bad"),
    in_flight=9,
    waiting=61,
    trend=-1,
    processed=251,
    wasted=321,
    dead=97,
    receipt_wait=None,
    marks=(Mark(0.0, Kind.FINE), Mark(6.0, Kind.BAD)),
)
FRAME = Frame(
    now=9.4,
    scenario=DemoScenario(),
    phase=ServicePhase.DOWN,
    service=(Mark(0.0, Kind.FINE), Mark(6.0, Kind.BAD)),
    guarded=HELD,
    naive=FAILING,
    notes=(Note(6.0, "payments goes down"),),
)

GUARDED = SideReport(
    calls=1000,
    wasted_calls=24,
    overrun_calls=1,
    processed=1350,
    duplicates=0,
    dead_letters=0,
    lost=0,
    waiting=3,
    peak_waiting=540,
    peak_in_flight_while_weak=4,
    rebalances=0,
    slowest_receipt_seconds=0.25,
    transitions=(Transition(6.12345, "payments", "OPEN"), Transition(7.2, "payments", "HALF_OPEN"), Transition(7.3, "payments", "OPEN")),
    timeline="--##1#",
)
NAIVE = replace(
    GUARDED, wasted_calls=331, processed=1245, dead_letters=105, slowest_receipt_seconds=None, transitions=(), timeline="--####"
)
REPORT = Report(
    broker="memory",
    scenario=DemoScenario(),
    ran=30.0123,
    interrupted=False,
    produced=1350,
    service_timeline="--####",
    guarded=GUARDED,
    naive=NAIVE,
)
