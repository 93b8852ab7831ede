"""Lines of one kind: the first is written, the others are counted."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from holdgate import LogSettings
from holdgate.errors import SettingsError
from holdgate.runtime.folding import FAILURE, Folding, Key
from holdgate.testing import in_virtual_time

KIND: Key = (FAILURE, "payments", "TimeoutError")


def folding() -> Folding:
    return Folding(60.0, asyncio.get_running_loop().time)


def write(lines: Folding, *numbers: int, key: Key = KIND) -> None:
    for number in numbers:
        lines.write(key, f"failure {number}", lambda count, _, number=number: f"{count} more, the last {number}")  # type: ignore[misc]


@in_virtual_time
async def test_twenty_of_a_kind_are_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """The first now, the rest with their count when the minute is over."""
    lines = folding()
    write(lines, *range(20))
    assert caplog.messages == ["failure 0"]
    await asyncio.sleep(60.001)
    assert caplog.messages == ["failure 0", "19 more, the last 19"]


@in_virtual_time
async def test_a_kind_that_goes_on_has_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Its next one is counted again, and not a first one."""
    lines = folding()
    for number in range(6):
        write(lines, number)
        await asyncio.sleep(25.0)
    await asyncio.sleep(60.0)
    assert caplog.messages == ["failure 0", "2 more, the last 2", "2 more, the last 4", "1 more, the last 5"]


@in_virtual_time
async def test_a_kind_that_was_quiet_for_a_minute_is_new_again(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has to wait for the line of a failure that was long over."""
    lines = folding()
    write(lines, 1)
    await asyncio.sleep(60.001)
    write(lines, 2)
    assert caplog.messages == ["failure 1", "failure 2"]


@in_virtual_time
async def test_the_first_few_may_be_written_singly(caplog: pytest.LogCaptureFixture) -> None:
    """Five dead letters are five names, and the sixth begins the count."""
    lines = folding()
    for number in range(8):
        lines.write(KIND, f"letter {number}", "{} more".format, singly=5)
    lines.flush()
    assert caplog.messages == [*[f"letter {number}" for number in range(5)], "3 more"]


@in_virtual_time
async def test_the_count_names_the_time_in_which_they_came(caplog: pytest.LogCaptureFixture) -> None:
    """The interval, or less where a run ends in the middle of one."""
    lines = folding()
    for number in range(3):
        lines.write(KIND, f"failure {number}", "{} more in {}".format)
        await asyncio.sleep(0.0)
    await asyncio.sleep(60.0)
    lines.write(KIND, "failure 3", "{} more in {}".format)
    await asyncio.sleep(14.0)
    lines.flush()
    assert caplog.messages == ["failure 0", "2 more in 1 min", "1 more in 14.0 s"]


@in_virtual_time
async def test_kinds_do_not_mix(caplog: pytest.LogCaptureFixture) -> None:
    """Another dependency, another error: a line of its own."""
    lines = folding()
    write(lines, 1)
    write(lines, 2, key=(FAILURE, "payments", "KeyError"))
    write(lines, 3, key=(FAILURE, "ledger", "TimeoutError"))
    assert caplog.messages == ["failure 1", "failure 2", "failure 3"]


@in_virtual_time
async def test_what_another_line_covers_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Two of three are covered, and more than there are is as good as all."""
    lines = folding()
    write(lines, 1, 2, 3, 4)
    lines.covered(KIND, 2)
    lines.covered((FAILURE, "payments", "never seen"), 2)
    lines.flush()
    write(lines, 5, 6)
    lines.covered(KIND, 9)
    lines.flush()
    assert caplog.messages == ["failure 1", "1 more, the last 4", "failure 5"]


@in_virtual_time
async def test_what_is_dropped_is_dropped_for_one_owner(caplog: pytest.LogCaptureFixture) -> None:
    """An outage of payments says nothing of the ledger."""
    lines = folding()
    write(lines, 1, 2)
    write(lines, 3, 4, key=(FAILURE, "ledger", "TimeoutError"))
    lines.drop("payments")
    lines.flush()
    assert caplog.messages == ["failure 1", "failure 3", "1 more, the last 4"]


@in_virtual_time
async def test_kinds_without_end_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that makes types as it goes fills the log, and not the memory."""
    lines = folding()
    for number in range(300):
        write(lines, number, number, key=(FAILURE, "payments", f"Error{number}"))
    assert len(lines._kinds) <= 256
    assert sum("more" in line for line in caplog.messages) == 256


@in_virtual_time
async def test_at_debug_nothing_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Each of them, as it happens."""
    caplog.set_level(logging.DEBUG, "holdgate")
    write(folding(), 1, 2, 3)
    assert caplog.messages == ["failure 1", "failure 2", "failure 3"]


def test_settings_take_times_as_everywhere() -> None:
    """Seconds or a timedelta, and None where there may be none."""
    settings = LogSettings(repeat_every=timedelta(minutes=2), work_every=None)
    assert (settings.repeat_every, settings.work_every, settings.exception_text) == (120.0, None, False)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"repeat_every": 0}, "repeat_every must be seconds above 0, got 0"),
        ({"work_every": "5 min"}, "work_every must be a number, got '5 min'"),
        ({"exception_text": "yes"}, "exception_text must be True or False, got 'yes'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object], text: str) -> None:
    """With the value."""
    with pytest.raises(SettingsError, match=text):
        LogSettings(**wrong)  # type: ignore[arg-type]
