from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.control.served import served, until

from holdgate import Guard
from holdgate.control import Control
from holdgate.errors import FleetLogError, SettingsError
from holdgate.events import CircuitOpened
from holdgate.ports import ControlPlane
from holdgate.runtime.fleet import Fleet
from holdgate.testing.memory import MemoryFleetLog, MemoryLogServer


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": -1}, "port must be a whole number from 0 to 65535, got -1"),
        ({"port": 65536}, "port must be a whole number"),
        ({"port": True}, "port must be a whole number"),
        ({"port": "9099"}, "port must be a whole number"),
        ({"host": ""}, 'host must be an address or "localhost"'),
        ({"host": "example.com"}, 'host must be an address or "localhost"'),
        ({"host": 2130706433}, 'host must be an address or "localhost"'),
        ({"host": "127.0.0.1:9099"}, 'host must be an address or "localhost"'),
        ({"socket": ""}, "socket must be a path of 1 to 100 bytes"),
        ({"socket": "/tmp/" + "x" * 100}, "socket must be a path of 1 to 100 bytes"),  # noqa: S108
        ({"socket": "a\0b"}, "socket must be a path"),
        ({"socket": b"bytes"}, "socket must be a path"),
        ({"name": " "}, "name must be one line of text"),
        ({"name": "two\nlines"}, "name must be one line of text"),
        ({"name": 7}, "name must be one line of text"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: Any, words: str) -> None:
    """When the Control is made."""
    with pytest.raises(SettingsError, match=words):
        Control(**settings)


def test_a_guard_takes_nothing_else_for_a_control() -> None:
    """A port, say."""
    with pytest.raises(SettingsError, match="control must be a Control, got int: give Guard"):
        Guard(control=9099)  # type: ignore[arg-type]
    assert isinstance(Control(), ControlPlane)


def test_importing_a_guard_imports_no_web() -> None:
    """Off by default means that it costs nothing."""
    look = "import sys; from holdgate import Guard; Guard(); print({'starlette', 'uvicorn', 'holdgate.control'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "set()"


def test_without_its_libraries_it_says_what_to_install(tmp_path: Path) -> None:
    """One error with the exact command."""
    look = "import sys; sys.modules['uvicorn'] = None\ntry: import holdgate.control\nexcept ImportError as error: print(repr(error))"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == """MissingExtra("starlette and uvicorn are not installed: pip install 'holdgate[web]'")"""


async def test_a_control_that_fails_to_take_an_event_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged as an observer that raised is, and the guard's other observers get theirs."""
    seen: list[Any] = []

    def broken(self: Control, event: Any) -> None:
        raise RuntimeError("canary-payload")

    monkeypatch.setattr(Control, "note", broken)
    async with served(observers=[seen.append]) as stage:
        await stage.outage()
        stage.down = False
        stage.guard.reset("payments", reason="a test")
        await until(lambda: len(stage.handled) == 10)
    assert any(isinstance(event, CircuitOpened) for event in seen)
    assert "raised RuntimeError on CircuitOpened" in caplog.text
    assert "canary" not in caplog.text


async def test_a_guard_that_cannot_be_entered_gives_its_port_back() -> None:
    """Its fleet's log is required and is not there: the next try would find the port taken, by nobody."""
    control = Control(port=0)
    with pytest.raises(FleetLogError):
        async with Guard(signals=False, control=control, fleet=Fleet(MemoryFleetLog(MemoryLogServer(exists=False)), required=True)):
            raise AssertionError
    assert control.url is None
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("holdgate")]
