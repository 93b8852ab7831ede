"""The pytest plugin in runs of pytest of its own, with each plugin that runs async tests. tests/packaging has it from the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STRICT = ("-p", "pytest_asyncio.plugin", "--asyncio-mode=strict")
AUTO = ("-p", "pytest_asyncio.plugin", "--asyncio-mode=auto")
ANYIO = ("-p", "anyio.pytest_plugin")

APP = """
import asyncio
from holdgate import Delivery, Dependency, Guard
from holdgate.testing import MemoryIntake, ScriptedDependency

payments = Dependency("payments", failures=(ConnectionError, TimeoutError))
cache = Dependency("cache", failures=ConnectionError)
bank = ScriptedDependency(payments)

async def charge(delivery):
    await bank.call(timeout=5)

async def forget(delivery):
    try:
        await bank.call(timeout=5)
    except (ConnectionError, TimeoutError):
        pass

async def consume(broker, clock, count):
    done = []

    async def handler(delivery):
        await bank.call(timeout=5)
        done.append(delivery.body)

    async with Guard(clock=clock, signals=False) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments]))
        while len(done) < count:
            await asyncio.sleep(1)
        await guard.stop()
        await run
    return done
"""

GUARDED = """
import asyncio, pytest
from app import consume

{mark}
async def test_orders(memory_broker, virtual_clock):
    memory_broker.create_topic("orders")
    for body in (b"1", b"2", b"3"):
        memory_broker.produce("orders", body)
    began = asyncio.get_running_loop().time()
    assert await consume(memory_broker, virtual_clock, 3) == [b"1", b"2", b"3"]
    assert began == 0  # a virtual loop begins there

class TestOrders:
    {mark}
    async def test_in_a_class(self, memory_broker, virtual_clock):
        await test_orders(memory_broker, virtual_clock)

{mark}
async def test_rehearsed(rehearse_async):
    from app import charge, payments
    report = await rehearse_async(charge, needs=[payments], deliveries=3)
    assert report.problems == ()
"""


class Project:
    """A project of a user's, whose tests are run in a process of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.write("app", APP)

    def write(self, name: str, text: str) -> None:
        (self._folder / f"{name}.py").write_text(text)

    def test(self, *arguments: str, plugins: Sequence[str] = ()) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "holdgate.pytest_plugin", *plugins, "-p", "no:cacheprovider", "-rA", *arguments],
            cwd=self._folder,
            env=os.environ
            | {"PYTHONPATH": str(ROOT / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "COLUMNS": "250"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_unused_it_imports_nothing(project: Project) -> None:
    """Whoever has holdgate installed and tests something else pays for two small modules."""
    project.write(
        "test_other",
        "import sys\n"
        "def test():\n"
        "    assert sorted(each for each in sys.modules if each.startswith('holdgate')) == ['holdgate', 'holdgate.pytest_plugin']\n",
    )

    assert project.test()[0] == 0


@pytest.mark.parametrize(
    ("plugins", "mark"),
    [(STRICT, "@pytest.mark.asyncio"), (AUTO, ""), (ANYIO, "@pytest.mark.anyio"), ((*STRICT, *ANYIO), "@pytest.mark.anyio")],
    ids=["asyncio strict", "asyncio auto", "anyio", "both"],
)
def test_async_tests_run_through_outages(project: Project, plugins: Sequence[str], mark: str) -> None:
    """A guard on the broker in memory, and a rehearsal, each without an outage and in each kind."""
    project.write("conftest", "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n")
    project.write("test_orders", GUARDED.format(mark=mark))

    assert "3 passed" in project.test(plugins=plugins)[1]
    code, printed = project.test("--outage", "payments", plugins=plugins)

    assert code == 0, printed
    assert "12 passed" in printed
    for kind in ("down", "slow", "flapping"):
        assert f"test_orders.py::test_orders[payments-{kind}] passed while payments was {kind}: " in printed
        assert f"test_orders.py::test_rehearsed[payments-{kind}] passed while payments was {kind}: " in printed
    assert "3 of 3 messages processed" in printed
    assert "no call met" not in printed


ANYIO_BACKEND = """
import pytest
from holdgate.testing import VirtualEventLoop

@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualEventLoop}
"""
LOOP_FACTORIES = """
from holdgate.testing import VirtualEventLoop

def pytest_asyncio_loop_factories(config, item):
    return {"virtual": VirtualEventLoop}
"""


@pytest.mark.parametrize(
    ("plugins", "conftest", "mark", "fixture"),
    [
        (STRICT, LOOP_FACTORIES, "@pytest.mark.asyncio", "pytest_asyncio.fixture"),
        (ANYIO, ANYIO_BACKEND, "@pytest.mark.anyio", "pytest.fixture"),
    ],
    ids=["pytest-asyncio", "anyio"],
)
def test_async_fixtures_may_have_virtual_time_too(project: Project, plugins: Sequence[str], conftest: str, mark: str, fixture: str) -> None:
    """Where the plugin's own loop is virtual, the test stays on it, with what its async fixtures have made there."""
    project.write("conftest", conftest)
    project.write(
        "test_orders",
        f"""
import asyncio, pytest, pytest_asyncio
from app import bank

@{fixture}
async def waiting():
    return asyncio.create_task(asyncio.sleep(3600))

{mark}
async def test(waiting, virtual_clock):
    await waiting
    try:
        await bank.call(timeout=5)
    except (ConnectionError, TimeoutError):
        await asyncio.sleep(60)
    await bank.call(timeout=5)
""",
    )

    code, printed = project.test("--outage", "payments", plugins=plugins)

    assert code == 0, printed
    assert "4 passed" in printed
    assert printed.count("passed while payments was") == 3


def test_trio_is_refused(project: Project) -> None:
    """With a sentence, where anyio's plugin runs a test on every backend that there is."""
    project.write(
        "conftest", "import pytest\n@pytest.fixture(params=['asyncio', 'trio'])\ndef anyio_backend(request):\n    return request.param\n"
    )
    project.write("test_orders", GUARDED.format(mark="@pytest.mark.anyio"))

    code, printed = project.test(plugins=ANYIO)

    assert code == 1
    assert "3 passed" in printed
    assert "3 errors" in printed
    assert "holdgate guards consumers on asyncio, and this test would run on trio" in printed


PLAIN = """
import pytest
from app import bank, charge, forget, payments

def test_good(rehearse):
    assert rehearse(charge, needs=[payments], deliveries=3).problems == ()

def test_forgetful(rehearse):
    assert rehearse(forget, needs=[payments], deliveries=3).problems == ()

@pytest.mark.no_outage(reason="counts calls")
def test_kept_out(rehearse):
    assert rehearse(charge, needs=[payments], deliveries=3).called == 3

def test_elsewhere(scripted):
    assert scripted(payments).dependency is payments
"""


def test_a_handler_that_loses_messages_fails(project: Project) -> None:
    """It passes while all is well. In each kind of outage it fails, and the summary has the sentence."""
    project.write("test_orders", PLAIN)

    assert project.test("--strict-markers")[0] == 0
    code, printed = project.test("--outage=payments", "--outage-seconds=30")

    assert code == 1
    assert "3 failed, 10 passed" in printed
    assert (
        "test_forgetful[payments-down] FAILED while payments was down: 3 calls met it; payments: 3 messages were reported as done"
        in printed
    )
    assert "test_good[up] " in printed
    assert "test_kept_out[" not in printed


def test_a_summary_over_several_processes(project: Project) -> None:
    """What was met travels with the reports of pytest-xdist."""
    project.write("test_orders", PLAIN)

    code, printed = project.test("--outage=payments", "-n", "2", "-k", "good", plugins=("-p", "xdist.plugin"))

    assert code == 0, printed
    assert printed.count(" passed while payments was ") == 3


@pytest.mark.parametrize("processes", ["0", "1"])
def test_an_unknown_name_is_an_error_with_the_known_ones(project: Project, processes: str) -> None:
    """Before any test has run, here and in a process of pytest-xdist."""
    project.write("test_orders", PLAIN)

    code, printed = project.test("--outage=paymnets", "-n", processes, plugins=("-p", "xdist.plugin"))

    assert code == 4
    assert "no dependency is named 'paymnets': the collected tests have cache, payments" in printed
    assert "passed while" not in printed


def test_a_name_that_only_a_fixture_makes(project: Project) -> None:
    """It is known by the ini file, and its tests run through outages as all."""
    project.write(
        "test_orders",
        "import pytest\n"
        "from holdgate import Dependency\n"
        "from holdgate.testing import ScriptedDependency\n"
        "def test(rehearse):\n"
        "    mail = Dependency('mail', failures=ConnectionError)\n"
        "    relay = ScriptedDependency(mail)\n"
        "    async def send(delivery):\n"
        "        await relay.call(5)\n"
        "    assert rehearse(send, needs=[mail], deliveries=3).called >= 3\n",
    )

    assert "--outage: no dependency is named 'mail': the collected tests import no Dependency" in project.test("--outage=mail")[1]
    code, printed = project.test("--outage=mail", "-o", "holdgate_dependencies=mail", "-k", "test")

    assert code == 0, printed
    assert "passed while mail was down" in printed


def test_a_run_that_met_nothing_fails(project: Project) -> None:
    """All green, and no call of the dependency has failed: that is no proof."""
    project.write("test_orders", PLAIN)

    code, printed = project.test("--outage=cache", "-k", "good")

    assert code == 1
    assert "4 passed" in printed
    assert "in 3 more runs no call met the outage" in printed
    assert "no call met an outage of cache, so nothing was rehearsed" in printed


def test_a_file_that_cannot_be_imported_is_left_to_pytest(project: Project) -> None:
    """That no call met an outage is true then, and misleads: nothing has run."""
    project.write("test_orders", "from app import nothing_of_the_kind\n")

    code, printed = project.test("--outage=payments")

    assert code == 2
    assert "nothing_of_the_kind" in printed
    assert "no call met an outage" not in printed


def test_real_time_is_refused(project: Project) -> None:
    """A test that calls the dependency on a real loop would wait for a minute; the remedy is named."""
    project.write("test_orders", "from app import bank\nasync def test(scripted):\n    await bank.call(timeout=5)\n")

    code, printed = project.test("--outage=payments", plugins=AUTO)

    assert code == 1
    assert "while payments is down this test needs virtual time" in printed
    assert "ask for the fixture virtual_clock" in printed


def test_seconds_must_be_more_than_none(project: Project) -> None:
    """The error says what was got."""
    project.write("test_orders", PLAIN)

    code, printed = project.test("--outage=payments", "--outage-seconds=0")

    assert code == 4
    assert "--outage-seconds must be above 0, got 0.0" in printed
