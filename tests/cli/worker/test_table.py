from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from tests.flow.test_status import EPOCH, MAILS, NOW, ORDERS, circuit, document, hold, source, waits

from holdgate import Override, Partition, State
from holdgate.cli.worker.table import render
from holdgate.cli.worker.words import clean, short
from holdgate.core import LimiterSnapshot
from holdgate.flow.snapshot import FailureKind, PartlyWaiting, RetryWaiting


def shown(found: Any, **options: Any) -> str:
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(render(found, **options))
    return capture.get()


def test_every_state_has_a_mark_and_a_word() -> None:
    """Shut, coming back, overridden, well."""
    text = shown(
        document(
            circuit("a", State.OPEN, open_until=NOW + 22),
            circuit("b", override=Override.FORCED_OPEN),
            circuit("c", State.HALF_OPEN, limit=4, full=16),
            circuit("d", override=Override.DISABLED),
            circuit("e", override=Override.METRICS_ONLY),
            circuit("f", failure_rate=0.02, slow_call_rate=0.1),
            circuit("g", consecutive_failures=3),
        )
    )
    for words in (
        "■ OPEN",
        "■ FORCED OPEN",
        "◪ RAMP 4 of 16",
        "◆ DISABLED",
        "◆ OBSERVED",
        "□ CLOSED",
        "2% fail, 10% slow",
        "3 failed in a row",
    ):
        assert words in text
    for words in ("probe in 22s", "until somebody ends it", "more after a good stage"):
        assert words in text


def test_what_waits_at_the_broker_is_shown_with_its_end() -> None:
    """Else what waits here."""
    text = shown(document(circuit(), sources=(source(waiting=7),), backlog=waits(48210, drained_in=360.0)), all_sources=True)
    assert "48210 waiting, 7 of them here · drained in about 6m00s" in text
    assert "7 here" in shown(document(circuit(), sources=(source(waiting=7),)))


def test_only_the_worst_sources_are_listed() -> None:
    """And how many are left out."""
    held = tuple(source(Partition("orders", number), "operator", since=NOW - 60) for number in range(40))
    text = shown(document(circuit(), sources=held, commands=(hold("orders", NOW + 60),)))
    assert "and 25 more" in text
    assert "orders[0]" in text
    assert "orders[39]" not in text
    assert "hold orders by alice, for another 1m00s: the schema changes" in text
    assert "orders[39]" in shown(document(circuit(), sources=held), all_sources=True)


def test_a_queue_and_what_falls_back_have_their_words() -> None:
    """Queues are counted apart from partitions."""
    sources = (source(MAILS, "operator", since=NOW - 3), source(ORDERS, falling_back=True))
    text = shown(document(circuit(), sources=sources, commands=(hold("mails", None, "hold"),)))
    assert "1 queue held · oldest hold 3s" in text
    assert "falls back" in text
    assert "until somebody ends it" in text


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "a\nb", "[bold]x[/bold]", "\u202eevil", "x" * 10_000])
def test_a_hostile_name_is_only_text(hostile: str) -> None:
    """No colour, no line, no markup, no turned direction, and not the whole screen."""
    text = shown(document(circuit(hostile), sources=(source(Partition(hostile, 0), "operator", since=EPOCH),)))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert max(map(len, text.splitlines())) <= 200
    if "bold" in hostile:
        assert "[bold]x[/bold]" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (22.4, "22s"), (59.6, "1m00s"), (842, "14m02s"), (11100, "3h05m"), (187200, "2d04h")]
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    """Two units at most."""
    assert short(seconds) == text


def test_a_clean_text_stays_as_it_is() -> None:
    """Names in any language."""
    assert clean("заказы-注文") == "заказы-注文"
    assert clean("a\tb") == "a\\tb"


def test_what_calls_failed_with_is_a_line_below_the_table() -> None:
    """For each dependency that has some, with the counts; a type's name is shown escaped as every other name."""
    kinds = (FailureKind("HTTPStatusError 503", 412, NOW - 842, NOW), FailureKind("Bad\x1b[31m", 1, NOW, NOW))
    text = shown(document(circuit(state=State.OPEN), circuit("email"), failures={"payments": kinds}))
    assert "payments failed with HTTPStatusError 503 x 412, Bad\\x1b[31m x 1: the first 14m02s ago, the last 0s ago" in text
    assert "email failed" not in text


def test_messages_that_wait_while_others_go_on_are_shown() -> None:
    """The source is listed though it is not held, with what they wait for and how many."""
    mixed = source(ORDERS, needs=("payments",), partly=PartlyWaiting(True, {"payments": 40}))
    text = shown(document(circuit(state=State.OPEN), sources=(mixed, source(MAILS))))
    assert "1 in part" in text
    assert "40 of its messages wait for payments" in text
    assert "mails" not in text
    held = source(ORDERS, "circuit:payments", since=NOW, partly=PartlyWaiting(True, {"payments": 40}))
    assert "1 of 1 " in shown(document(circuit(state=State.OPEN), sources=(held,)))


def limits(why: str, pace: float | None = 9.8, next_at: float | None = None, width: int | None = 4) -> LimiterSnapshot:
    return LimiterSnapshot(0, width, pace, next_at, 990, 10, 3, why)


@pytest.mark.parametrize(
    ("seen", "next_one"),
    [
        (limits("pace"), "goes on, 9.8/s"),
        (limits("width", pace=None), "the next call when one has ended"),
        (limits("throttled", next_at=NOW + 40), "asks in 40s"),
        (limits("down", next_at=NOW), "asks now"),
        (limits("pace", pace=0.2), "goes on, 12 a minute"),
        (limits("rate", pace=100 / 3600, next_at=NOW + 40), "the next call in 40s"),
        (limits("rate", pace=10.0, next_at=NOW + 0.1), "goes on, 10/s"),
    ],
)
def test_what_waits_for_a_limit_is_said(seen: LimiterSnapshot, next_one: str) -> None:
    """Nothing is down, and still something waits: the first line and the table say for what, how fast it goes, and what is next."""
    text = shown(document(circuit(limits=seen), circuit("email", limits=limits("free")), sources=(source(waiting=7),)))
    assert "1 LIMITED · 7 waiting here" in text
    assert "◪ LIMITED" in text
    assert "1% refused" in text
    assert next_one in text


def test_a_limit_that_lets_nothing_through_does_not_show_its_pace() -> None:
    """It is the one of before, and the source is held. For a moment between two calls it is that of now."""
    held = source(ORDERS, "limit:payments", since=NOW - 60, waiting=7)
    shut = document(circuit(limits=limits("throttled", next_at=NOW + 40)), sources=(held,))
    assert "lets nothing through, 1% refused" in shown(shut)
    assert "9.8" not in shown(shut)
    moment = document(circuit(limits=limits("throttled", next_at=NOW + 0.2)), sources=(source(waiting=7),))
    assert "lets 9.8/s through, 1% refused" in shown(moment)


def test_a_limit_that_nothing_waits_for_is_no_state() -> None:
    """Nor one that an operator only observes, nor one of a circuit that is open: that is worse."""
    waiting = (source(waiting=7),)
    assert "LIMITED" not in shown(document(circuit(limits=limits("pace"))))
    assert "LIMITED" not in shown(document(circuit(limits=limits("pace"), override=Override.METRICS_ONLY), sources=waiting))
    assert "LIMITED" not in shown(document(circuit(state=State.OPEN, limits=limits("pace")), sources=waiting))


def test_an_end_is_told_only_of_what_waits() -> None:
    """A worker with nothing to do is not "drained in 0 s"; and what is over is now."""
    idle = shown(document(circuit(), sources=(source(),), backlog=waits(0, drained_in=0.0)))
    assert idle.splitlines()[0].rstrip().endswith("· 0 waiting")
    assert "probe now" in shown(document(circuit(state=State.OPEN, open_until=NOW + 0.2)))


def test_an_override_that_ends_by_itself_says_when() -> None:
    """Whichever it is, and however often a probe has failed before."""
    for override, command in ((Override.DISABLED, "disable"), (Override.METRICS_ONLY, "observe"), (Override.FORCED_OPEN, "force_open")):
        text = shown(document(circuit(override=override), commands=(hold("payments", NOW + 600, command),)))
        assert "ends in 10m00s" in text
        assert "until somebody ends it" not in text


def test_what_an_open_transaction_keeps_back_is_listed() -> None:
    """Nothing holds it, and yet nothing of it comes."""
    found = document(circuit(), sources=(source(waiting=7),), backlog=waits(48210, readable=0, blocked_for=720.0))
    assert "an open transaction for 12m00s" in shown(found)


def test_a_message_that_waits_for_its_next_try_is_listed_with_its_time() -> None:
    """Else nothing would say why the others wait."""
    waits_so = source(waiting=7, retrying=RetryWaiting(712, 2, "KeyError", NOW + 12))
    text = shown(document(circuit(), sources=(waits_so,)))
    assert "message 712 waits for its next try (KeyError)" in text
    assert "in 12s" in text
    asked = source(waiting=7, retrying=RetryWaiting(712, 0, "", NOW + 12))
    assert "message 712 waits for its next try " in shown(document(circuit(), sources=(asked,)))
