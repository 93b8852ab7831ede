from __future__ import annotations

import json

from tests.cli.demo.examples import NAIVE, REPORT

from holdgate.cli.app import DEMO_KEYS
from holdgate.cli.demo.clock import StoryClock
from holdgate.cli.demo.ledger import Place, Production
from holdgate.cli.demo.report import side_report
from holdgate.cli.demo.scenario import ORDERS, Scenario
from holdgate.cli.demo.work import Work

SIDE_KEYS = {
    "calls",
    "wasted_calls",
    "overrun_calls",
    "processed",
    "duplicates",
    "dead_letters",
    "lost",
    "waiting",
    "peak_waiting",
    "peak_in_flight_while_weak",
    "rebalances",
    "slowest_receipt_seconds",
    "states",
    "transitions",
    "timeline",
}
KEYS = {"version", "broker", "seconds", "ran_seconds", "interrupted", "produced", "payments", "guarded", "naive"}


def test_the_document_has_the_promised_keys() -> None:
    """Scripts rely on these names; both sides have the same ones."""
    document = REPORT.document()
    assert document.keys() == KEYS
    assert document["guarded"].keys() == document["naive"].keys() == SIDE_KEYS
    assert document["payments"].keys() == {"down_at", "weak_at", "up_at", "timeline"}


def test_every_key_is_explained_in_the_help() -> None:
    """Who reads the document finds each key in `holdgate demo --help`."""
    assert [key for key in KEYS | SIDE_KEYS if key not in DEMO_KEYS] == []


def test_the_document_is_json() -> None:
    """No value of it is one that JSON does not have."""
    assert json.loads(json.dumps(REPORT.document(), allow_nan=False))["guarded"]["transitions"][0] == {
        "at": 6.123,
        "dependency": "payments",
        "state": "OPEN",
    }


def test_each_state_that_was_seen_is_told_once() -> None:
    """A circuit begins closed; what it went through afterwards comes in order of first sight."""
    assert REPORT.guarded.states == ["CLOSED", "OPEN", "HALF_OPEN"]


def test_a_side_without_a_circuit_has_no_states() -> None:
    """Nothing is made up for it."""
    assert NAIVE.states == []


def test_what_is_lost_is_not_waiting() -> None:
    """Of three unprocessed messages two are behind the committed offset: lost; one comes again."""
    production = Production()
    work = Work(Scenario(), StoryClock(lambda: 0.0), production)
    for number in range(3):
        production.send(number, 0.0)
        production.store(number, Place(ORDERS, 0, number))
    report = side_report(work, {(ORDERS, 0): 2}, peak_waiting=3, rebalances=0, transitions=(), timeline="")
    assert (report.lost, report.waiting) == (2, 1)
