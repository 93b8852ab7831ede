from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdgate
from holdgate import Guard
from holdgate.config import Settings
from holdgate.errors import SettingsError
from holdgate.flow.events import CommandGiven

FIRST = "[dependencies.payments]\nopen_duration = 10\n[guard]\nmemory = 'none'\n"
OTHER = FIRST.replace("10", "20")


class Lines(logging.Handler):
    """The lines about settings, one after the other as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("settings: "):
            self._queue.put_nowait(f"{record.levelname} {record.getMessage()}")

    async def next(self) -> str:
        async with asyncio.timeout(60):
            return await self._queue.get()


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, log = Lines(), logging.getLogger("holdgate")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture(autouse=True)
def sighup() -> Iterator[None]:
    """Leave SIGHUP to nobody: where the suite runs under nohup, its processes begin with it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "holdgate.toml"
    path.write_text(FIRST, encoding="utf-8")
    return holdgate.load(path, environment={})


def replace(path: Path, text: str) -> None:
    """Write the file as editors and ConfigMaps do: a new one takes its place."""
    other = path.with_suffix(".new")
    other.write_text(text, encoding="utf-8")
    other.replace(path)


async def test_a_changed_file_is_taken_up_and_the_log_says_what(settings: Settings, lines: Lines) -> None:
    """Without a signal, at the next look."""
    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=0.01, signals=False):
        replace(settings.path, OTHER)
        line = await lines.next()
        assert line.endswith("was read again: dependencies.payments.circuit.open_duration 10.0 -> 20.0")
        assert line.startswith("INFO settings: ")
        assert guard.circuit("payments").settings.open_duration == 20.0


async def test_a_change_is_in_the_audit_log(settings: Settings, lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    """What has made the worker read the file, when, and each setting that differs, before and after; the log has it once."""
    caplog.set_level(logging.INFO, logger="holdgate")
    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=0.01):
        began = guard.now()
        replace(settings.path, OTHER)
        await lines.next()
        replace(settings.path, FIRST)
        await lines.next()
        settings.reload(guard, actor="alice")  # nothing differs: no entry
        first, second = guard.audit()
    assert isinstance(first, CommandGiven)
    assert isinstance(second, CommandGiven)
    assert (first.command, first.target, first.actor, first.until) == ("reload", str(settings.path), "a change of the file", None)
    assert first.reason == "dependencies.payments.circuit.open_duration 10.0 -> 20.0"
    assert second.reason == "dependencies.payments.circuit.open_duration 20.0 -> 10.0"
    assert began <= first.at <= second.at
    assert [record.getMessage() for record in caplog.records if "10.0 -> 20.0" in record.getMessage()] == [
        f"settings: {settings.path} (a change of the file) was read again: dependencies.payments.circuit.open_duration 10.0 -> 20.0"
    ]


async def test_a_signal_is_in_the_audit_log_by_its_name(settings: Settings, lines: Lines) -> None:
    """And so is the program, or whoever it reads the file for."""
    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=3600) as watch:
        for number, ask in enumerate((lambda: os.kill(os.getpid(), signal.SIGHUP), watch.ask, lambda: watch.ask("alice"))):
            replace(settings.path, FIRST.replace("10", str(30 + number)))
            ask()
            await lines.next()
        assert [entry.actor for entry in guard.audit() if isinstance(entry, CommandGiven)] == ["SIGHUP", "the program", "alice"]


async def test_a_change_before_the_watch_begins_is_taken_up(settings: Settings, lines: Lines) -> None:
    """Between the loading and the watch a worker connects, and a file may change meanwhile."""
    replace(settings.path, OTHER)
    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=0.01, signals=False):
        assert "10.0 -> 20.0" in await lines.next()


async def test_sighup_reads_the_file_at_once(settings: Settings, lines: Lines) -> None:
    """The next look would be in an hour. Afterwards the signal is nobody's again."""
    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=3600):
        replace(settings.path, OTHER)
        os.kill(os.getpid(), signal.SIGHUP)
        assert "10.0 -> 20.0" in await lines.next()
        os.kill(os.getpid(), signal.SIGHUP)
        assert "nothing differs" in await lines.next()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.parametrize("text", ["[dependencies.payments]\nopen_duration = '5 minutes'\n", "x = [", None])
async def test_a_file_that_is_not_valid_keeps_the_old_settings(settings: Settings, lines: Lines, text: str | None) -> None:
    """Nor one that is gone. The log says so in one line, and the watch goes on."""
    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=0.01, signals=False):
        if text is None:
            settings.path.unlink()
        else:
            replace(settings.path, text)
        line = await lines.next()
        assert line.startswith("WARNING settings: ")
        assert "is not valid and changes nothing: " in line
        assert guard.circuit("payments").settings.open_duration == 10.0
        replace(settings.path, OTHER)
        assert "10.0 -> 20.0" in await lines.next()


async def test_what_needs_a_restart_is_said(settings: Settings, lines: Lines) -> None:
    """A new dependency, too."""
    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=0.01, signals=False):
        replace(settings.path, FIRST.replace("'none'", "'64MiB'") + "[dependencies.email]\n")
        assert "nothing differs that a running worker takes up" in await lines.next()
        line = await lines.next()
        assert line.startswith("WARNING settings: ")
        assert "guard.memory none -> 67108864" in line
        assert "dependencies.email.probe_timeout nothing -> 5.0" in line


async def test_a_mistake_of_ours_ends_neither_watch_nor_worker(settings: Settings, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged by its type, and the next change is taken up."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    async with Guard(*settings.dependencies.values(), signals=False) as guard, settings.watch(guard, every=3600, signals=False) as watch:
        monkeypatch.setattr(Settings, "take_up", fail)
        watch.ask()
        line = await lines.next()
        assert line.startswith("ERROR settings: ")
        assert line.endswith("by a mistake of ours: RuntimeError")
        monkeypatch.undo()
        replace(settings.path, OTHER)
        watch.ask()
        assert "10.0 -> 20.0" in await lines.next()


async def test_a_signal_of_others_is_left_alone(settings: Settings) -> None:
    """With signals=True that is an error, which says who has it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    async with settings.watch():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with pytest.raises(SettingsError, match="SIGHUP already has a handler"):
        await settings.watch(signals=True).__aenter__()


async def test_signals_false_takes_nothing(settings: Settings) -> None:
    """And anything but None, True and False is refused."""
    async with settings.watch(signals=False):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    with pytest.raises(SettingsError, match="signals must be None, True or False"):
        settings.watch(signals=1)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="every must be seconds above 0"):
        settings.watch(every=0)


def test_in_a_thread_no_signal_is_taken(settings: Settings) -> None:
    """Python delivers them to the main thread alone; the file is watched all the same."""
    seen: list[object] = []

    async def watch() -> None:
        async with settings.watch():
            seen.append(signal.getsignal(signal.SIGHUP))
        try:
            await settings.watch(signals=True).__aenter__()
        except SettingsError as error:
            seen.append(str(error))

    thread = threading.Thread(target=lambda: asyncio.run(watch()))
    thread.start()
    thread.join()
    assert seen[0] is signal.SIG_DFL
    assert "main thread only" in str(seen[1])
