"""The pytest plugin: fixtures for tests of consumers, and `--outage payments`, which runs those tests through outages of a dependency.

Theory of operation. pytest imports this file wherever holdgate is installed, whether its tests use holdgate or not. So it stands outside of
`holdgate.testing`, whose `__init__` brings in the engine, and imports nothing of holdgate before a fixture is asked for.

Every fixture asks for `holdgate_outage`. With `--outage` that fixture has parameters, one for each way to fail, and one without an outage.
pytest then makes the variants of a test as of any parametrised fixture. Each variant plays a drill (testing/drills.py) while it runs, and
leaves what came of it among the test's `user_properties`. Those travel with the test's report, also from a process of pytest-xdist, and the
summary at the end is made of reports alone.

Which dependencies there are, nobody keeps a list of: a program makes each where it imports it. So the names are looked for after the
collection, among the objects of the process.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from holdgate.runtime.dependency import Dependency
    from holdgate.testing import LoopClock, MemoryBroker, Rehearsal, ScriptedDependency
    from holdgate.testing.drills import Drill

_OUTAGE = "holdgate_outage"
_KINDS = ("down", "slow", "flapping")  # those of drills.KINDS, which a run without an outage does not import

_NO_TRIO = (
    "holdgate guards consumers on asyncio, and this test would run on trio: give the test the backend 'asyncio', as in `anyio_backend`"
)
_REAL_TIME = (
    "while {name} is {kind} this test needs virtual time, because an outage would take its seconds: "
    "ask for the fixture virtual_clock, or decorate the test with holdgate.testing.in_virtual_time"
)


@dataclass(frozen=True, slots=True)
class _Case:
    """A parameter of `holdgate_outage`."""

    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.name}-{self.kind}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("holdgate")
    group.addoption(
        "--outage",
        action="append",
        default=[],
        metavar="DEPENDENCY",
        help="Run each test with a fixture of holdgate again while this dependency is down, slow and flapping. May be given several times.",
    )
    group.addoption(
        "--outage-seconds",
        type=float,
        default=60.0,  # beyond the patience of every client and most retries, and short beside a test's own limits
        metavar="SECONDS",
        help="How long each of these outages lasts, in virtual seconds.  [default: 60]",
    )
    parser.addini(
        "holdgate_dependencies", "names of dependencies that only fixtures make, so that --outage knows them", type="args", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what a run with outages needs."""
    config.addinivalue_line("markers", "no_outage(reason): --outage does not run this test through outages")
    names = _names(config)
    if not names:
        return
    if not _seconds(config) > 0:
        raise pytest.UsageError(f"--outage-seconds must be above 0, got {_seconds(config)}")
    config.pluginmanager.register(_Outages(config, names), "holdgate-outages")


def _names(config: pytest.Config) -> list[str]:
    return list(dict.fromkeys(cast("list[str]", config.getoption("outage"))))


def _seconds(config: pytest.Config) -> float:
    return cast("float", config.getoption("outage_seconds"))


# -- fixtures -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def holdgate_outage(request: pytest.FixtureRequest) -> Iterator[Drill | None]:
    """Give the outage that this test is run through, as `name`, `kind` and `seconds`. None means without one.

    Ask for it, or for any other fixture of holdgate, so that `--outage` runs the test through outages.
    """
    if "anyio_backend" in request.fixturenames and request.getfixturevalue("anyio_backend_name") == "trio":
        pytest.fail(_NO_TRIO, pytrace=False)
    case: _Case | None = getattr(request, "param", None)
    if case is None:
        yield None
        return
    from holdgate.testing.drills import Drill, drilling

    drill = Drill(case.name, case.kind, _seconds(request.config))
    with drilling(drill):
        yield drill
    request.node.user_properties += [(_OUTAGE, str(case)), ("holdgate_calls", drill.calls), ("holdgate_sentence", drill.sentence)]
    if drill.lacked_virtual_time:
        pytest.fail(_REAL_TIME.format(name=case.name, kind=case.kind), pytrace=False)


@pytest.fixture
def memory_broker(holdgate_outage: Drill | None) -> MemoryBroker:
    """Give a broker in memory without topics and queues: `create_topic`, `create_queue` and `produce` fill it, `MemoryIntake` reads it."""
    from holdgate.testing import MemoryBroker

    return MemoryBroker()


@pytest.fixture
def scripted(holdgate_outage: Drill | None) -> Callable[[Dependency], ScriptedDependency]:
    """Give `ScriptedDependency`: `scripted(payments)` is a stand-in that fails in the outages of a rehearsal and of `--outage`."""
    from holdgate.testing import ScriptedDependency

    return ScriptedDependency


@pytest.fixture
def rehearse(holdgate_outage: Drill | None) -> Callable[..., Rehearsal]:
    """Give `holdgate.testing.rehearse`."""
    from holdgate.testing import rehearse

    return rehearse


@pytest.fixture
def rehearse_async(holdgate_outage: Drill | None) -> Callable[..., Coroutine[Any, Any, Rehearsal]]:
    """Give `holdgate.testing.rehearse_async`."""
    from holdgate.testing import rehearse_async

    return rehearse_async


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest, holdgate_outage: Drill | None) -> LoopClock:
    """Let an async test run on virtual time, under every plugin that runs async tests, and give the clock for its `Guard(clock=)`.

    The test gets a loop of its own, in a thread, and async fixtures stay in theirs. A test whose loop is a VirtualEventLoop already stays
    there. In a plain test it is the clock for what runs under `run_virtual`.
    """
    from holdgate.testing import LoopClock

    if inspect.iscoroutinefunction(request.node.obj):
        request.node.obj = _on_virtual_time(request.node.obj)
    return LoopClock()


def _on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    from holdgate.testing.clock import VirtualEventLoop, run_virtual_apart

    @wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        if VirtualEventLoop.here() is not None:
            await test(*args, **kwargs)
        else:
            await run_virtual_apart(lambda: test(*args, **kwargs))

    return run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the variants of each test that asks for a fixture of holdgate."""
    names = _names(metafunc.config)
    if not names or _OUTAGE not in metafunc.fixturenames or metafunc.definition.get_closest_marker("no_outage") is not None:
        return
    cases = [None, *(_Case(name, kind) for name in names for kind in _KINDS)]
    metafunc.parametrize(_OUTAGE, cases, ids=["up" if each is None else str(each) for each in cases], indirect=True)


# -- a run with outages ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ending:
    """How one variant ended."""

    test: str
    case: str
    outcome: str
    calls: int
    sentence: str

    @property
    def name(self) -> str:
        return self.case.rpartition("-")[0]

    @property
    def text(self) -> str:
        return f"{self.test} {self.outcome} while {self.name} was {self.case.rpartition('-')[2]}: {self.sentence}"


class _Outages:
    """The run as a whole: are the names known, and what came of it, in words."""

    def __init__(self, config: pytest.Config, names: list[str]) -> None:
        self._config = config
        self._names = names
        self._outcomes: dict[str, str] = {}
        self._endings: list[_Ending] = []
        self._unknown: str | None = None  # what is wrong with the names

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Refuse names that no dependency has."""
        self._unknown = None if session.testsfailed else self._unknown_name()  # a file that could not be imported is a reason of its own
        if self._unknown is None:
            return
        output: dict[str, object] | None = getattr(self._config, "workeroutput", None)
        if output is None:
            raise pytest.UsageError(self._unknown)
        # In a process of pytest-xdist, where an error would be lost: run nothing, and hand the sentence to the process that prints.
        items.clear()
        output[_OUTAGE] = self._unknown

    def _unknown_name(self) -> str | None:
        known = {*self._config.getini("holdgate_dependencies"), *_dependencies()}
        unknown = [name for name in self._names if name not in known]
        if not unknown:
            return None
        listed = f"the collected tests have {', '.join(sorted(known))}" if known else "the collected tests import no Dependency"
        return (
            f"--outage: no dependency is named {unknown[0]!r}: {listed}; "
            "one that only a fixture makes is known if the ini option holdgate_dependencies has its name"
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the sentence from a process of pytest-xdist."""
        self._unknown = self._unknown or getattr(node, "workeroutput", {}).get(_OUTAGE)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a variant ended."""
        if report.when == "call" or not report.passed:
            self._outcomes[report.nodeid] = "FAILED" if report.failed else report.outcome
        properties = dict(report.user_properties)
        if report.when == "teardown" and _OUTAGE in properties:
            self._endings.append(
                _Ending(
                    test=report.nodeid,
                    case=str(properties[_OUTAGE]),
                    outcome=self._outcomes.get(report.nodeid, "skipped"),
                    calls=int(str(properties["holdgate_calls"])),
                    sentence=str(properties["holdgate_sentence"]),
                )
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run in which no call met an outage: it looks like a proof, and is none."""
        if self._config.getoption("collectonly") or hasattr(self._config, "workerinput"):
            return
        if self._unknown is not None:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif session.exitstatus == pytest.ExitCode.OK and self._missed():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what came of it."""
        if self._config.getoption("collectonly"):
            return
        if self._unknown is not None:
            terminalreporter.line(self._unknown, red=True)
            return
        if not self._outcomes:
            return  # no test ran: a file that could not be imported, or none that was selected, and pytest has said so
        terminalreporter.section(f"outages of {', '.join(self._names)}")
        for each in self._endings:
            if each.calls or each.outcome == "FAILED":
                terminalreporter.line(each.text, red=each.outcome == "FAILED")
        idle = sum(not each.calls and each.outcome != "FAILED" for each in self._endings)
        if idle:
            terminalreporter.line(f"in {idle} more {'run' if idle == 1 else 'runs'} no call met the outage")
        for name in self._missed():
            terminalreporter.line(
                f"no call met an outage of {name}, so nothing was rehearsed: a test needs one of the fixtures rehearse, rehearse_async, "
                f"memory_broker, virtual_clock, scripted or {_OUTAGE}, and its client a stand-in of holdgate.testing for {name}",
                red=True,
            )

    def _missed(self) -> list[str]:
        met = {each.name for each in self._endings if each.calls}
        return [name for name in self._names if name not in met]


def _dependencies() -> Generator[str, None, None]:
    """Yield the names of all dependencies that there are in this process."""
    module = sys.modules.get("holdgate.runtime.dependency")
    if module is not None:
        # By the type of each object: `isinstance` asks a proxy for its target, and somebody's may refuse.
        yield from (each.name for each in gc.get_objects() if issubclass(type(each), module.Dependency))
