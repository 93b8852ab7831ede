"""Fixtures and rules for all tests."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import itertools
import logging
import os
import signal
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import settings

from tests import canary
from tests.closing import Closing, serves
from tests.failing import Failing
from tests.second_try import allow_second_try
from tests.servers.chromium import browser, find_chromium
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_jars import wanted_kafka
from tests.servers.kafka_settings import NEVER_KILLED
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis_server import RedisServer
from tests.servers.resolve import label, shared_kafka, shared_rabbitmq, wanted_rabbitmq
from tests.servers.spare import Spare
from tests.servers.unavailable import Unavailable, in_ci
from tests.sharing import Sharing, is_apart
from tests.unhurried import lengthen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping

    from playwright.async_api import Browser
    from xdist.remote import Producer

    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.proxy import Proxy
    from tests.servers.rabbitmq_address import RabbitMQAddress

# Who asks for one of these asks for a real broker.
SERVER_FIXTURES = {"kafka", "own_kafka", "fresh_kafka", "kafka_cluster", "kafka_proxy", "share_kafka", "topic"}
SERVER_FIXTURES |= {"rabbitmq", "own_rabbitmq", "spare_rabbitmq", "fresh_rabbitmq", "queue"}
SERVER_FIXTURES |= {"redis_server"}


# The first Kafka with share groups.
SHARES_FROM = (4, 2)

# An example may take as long as it takes: on two cores that others load, a limit on its time tells of them and not of the code.
settings.register_profile("holdgate", settings(), deadline=None)
settings.load_profile("holdgate")


def pytest_configure(config: pytest.Config) -> None:
    """Let the run say at its end what ran on which broker. Give SIGINT back to the processes that tests start: a shell ignores it for what
    runs in the background, and children inherit that.

    With HOLDGATE_TEST_EAGER=1 every event loop begins with `asyncio.eager_task_factory` (Python 3.12 and newer): make test-eager."""
    config.pluginmanager.register(Closing(config, shared=("kafka", "rabbitmq")))
    config.pluginmanager.register(Failing(config))
    canary.plant()
    canary.watch()
    if os.environ.get("HOLDGATE_TEST_EAGER"):
        _make_loops_eager()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _make_loops_eager() -> None:
    """Tests make loops in many ways; all of them come by here."""
    if sys.version_info < (3, 12):
        raise pytest.UsageError("HOLDGATE_TEST_EAGER: asyncio has eager tasks from Python 3.12 on")
    made = asyncio.BaseEventLoop.__init__

    def make_eager(loop: asyncio.BaseEventLoop) -> None:
        made(loop)
        loop.set_task_factory(asyncio.eager_task_factory)

    asyncio.BaseEventLoop.__init__ = make_eager  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that has shown a canary, whatever the test itself looks at. The last report of a test has all of its log."""
    report = yield
    if report.when == "teardown":
        for name, text in report.sections:
            if name.startswith("Captured log"):
                canary.look("the log", text)
        found = canary.findings()
        if found and report.passed:
            report.outcome = "failed"
            report.longrepr = "what stands for a payload, a key, a header, a token or a password was shown:\n" + "\n".join(found[:10])
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, which would look again and again at the million objects that stay to the end: a seventh of the
    time, in each process. Nor does it look at them later, when a test calls it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing | None:
    """Start each broker in a few of the processes that share the tests; None means the way that --dist names."""
    return Sharing(config, log) if config.getoption("dist") == "load" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real broker and what may be tried again, and refuse a test that does not say in a docstring what it shows."""
    for item in items:
        if SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)
        allow_second_try(item)
        function = getattr(item, "function", None)
        if function is not None and not inspect.getdoc(function):
            message = f"{item.nodeid} has no docstring: one sentence on the behaviour it shows"
            raise pytest.UsageError(message)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[bool, bool, bool, str]:
    """Where several processes share the tests: the long ones first, so that none is left alone at the end, and the others mixed, so that
    those of one kind do not all run in parallel. The same in every process, as pytest-xdist wants it."""
    together = item.nodeid if item.get_closest_marker("integration") else item.nodeid.partition("::")[0]  # a file's fixtures are made once
    order = hashlib.sha256(together.encode()).hexdigest()
    return item.get_closest_marker("slow") is None, item.get_closest_marker("long_file") is None, is_apart(item.nodeid), order


def _missing(error: Unavailable) -> None:
    if in_ci():
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    pytest.skip(str(error))


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Give loggers their levels back: a command of holdgate's own, run in this process, silences some for its process."""
    before = _levels()
    yield
    for name, level in _levels().items():
        # Only what differs: to set a level clears the caches of all loggers, and hardly any test changes one.
        if level != before.get(name, logging.NOTSET):
            logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


def _levels() -> dict[str, int]:
    return {name: logger.level for name, logger in list(logging.root.manager.loggerDict.items()) if isinstance(logger, logging.Logger)}


@pytest.fixture(autouse=True)
def unhurried(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give a test with a real server patience in place of the product's short limits (tests/unhurried.py)."""
    if request.node.get_closest_marker("integration") is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        lengthen(patch)
        yield


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaAddress]:
    """One Kafka for all tests that leave it running: HOLDGATE_TEST_KAFKA, or Docker, or a broker of our own."""
    # In a loop of its own: the tests have one each, and this outlives them.
    with asyncio.Runner() as runner:
        context = shared_kafka()
        try:
            server = runner.run(context.__aenter__())
        except Unavailable as error:
            _missing(error)
        serves(request, label(server))
        yield server
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def share_kafka(request: pytest.FixtureRequest) -> KafkaAddress:
    """The shared Kafka, if it has share groups; where it has none it is not started."""
    if tuple(int(part) for part in wanted_kafka().split(".")[:2]) < SHARES_FROM:
        pytest.skip("share groups come with Kafka 4.2: HOLDGATE_TEST_KAFKA_VERSION=4.4 make test runs these")
    server: KafkaAddress = request.getfixturevalue("kafka")
    return server


@pytest.fixture(scope="session")
def own_kafka(kafka: KafkaAddress, request: pytest.FixtureRequest) -> Iterator[KafkaServer]:
    """A Kafka that we started ourselves, for the tests whose clients go through a proxy; the shared one where that is ours."""
    if isinstance(kafka, KafkaServer):
        serves(request, label(kafka))
        yield kafka
        return
    with asyncio.Runner() as runner:
        server = _own_server(settings=NEVER_KILLED)
        runner.run(server.start())
        serves(request, label(server))
        yield server
        runner.run(server.close())


@pytest.fixture
async def fresh_kafka(request: pytest.FixtureRequest) -> AsyncIterator[KafkaServer]:
    """A broker for one test alone, to be stopped, killed, frozen and started again."""
    async with _own_server() as server:
        serves(request, label(server))
        yield server


@pytest.fixture
async def kafka_cluster(request: pytest.FixtureRequest) -> AsyncIterator[KafkaServer]:
    """Three brokers for one test alone; every topic is on all three."""
    async with _own_server(brokers=3) as server:
        serves(request, label(server))
        yield server


@pytest.fixture
async def kafka_proxy(own_kafka: KafkaServer) -> AsyncIterator[Proxy]:
    """A proxy before the broker `own_kafka`; clients that start at `proxy.address` stay behind it. Topics: `own_kafka.create_topic`."""
    (proxy,) = own_kafka.proxies()
    async with proxy:
        yield proxy


@pytest.fixture
async def topic(kafka: KafkaAddress, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Make topics on the shared `kafka`, each under a name of its own, with `partitions` and `config` as asked; deleted afterwards."""
    made: list[str] = []
    numbers = itertools.count(1)
    word = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60]

    async def create(partitions: int = 1, **more: object) -> str:
        name = f"{word}-{next(numbers)}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        made.append(await kafka.create_topic(name, partitions, **more))
        return name

    yield create
    for name in made:
        await kafka.delete_topic(name)


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> Iterator[RabbitMQAddress]:
    """One RabbitMQ for all tests that leave it running: HOLDGATE_TEST_RABBITMQ, or Docker, or a node of our own."""
    with asyncio.Runner() as runner:
        context = shared_rabbitmq()
        try:
            server = runner.run(context.__aenter__())
        except Unavailable as error:
            _missing(error)
        serves(request, label(server))
        yield server
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def own_rabbitmq(rabbitmq: RabbitMQAddress, request: pytest.FixtureRequest) -> Iterator[RabbitMQServer]:
    """A RabbitMQ that we started ourselves, for rabbitmqctl; the shared one where that is ours."""
    if isinstance(rabbitmq, RabbitMQServer):
        serves(request, label(rabbitmq))
        yield rabbitmq
        return
    with asyncio.Runner() as runner:
        server = _own_rabbitmq()
        runner.run(server.start())
        serves(request, label(server))
        yield server
        runner.run(server.close())


@pytest.fixture(scope="session")
def spare_rabbitmq() -> Iterator[Spare[RabbitMQServer]]:
    """What `fresh_rabbitmq` lends."""
    spare = Spare(_own_rabbitmq)
    yield spare
    with asyncio.Runner() as runner:
        runner.run(spare.close())


@pytest.fixture
async def fresh_rabbitmq(spare_rabbitmq: Spare[RabbitMQServer], request: pytest.FixtureRequest) -> RabbitMQServer:
    """A node for one test at a time, empty, to be stopped, killed, frozen and started again: nothing else is on it meanwhile."""
    server = await spare_rabbitmq.lend()
    serves(request, label(server))
    return server


@pytest.fixture
async def queue(rabbitmq: RabbitMQAddress, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Make queues on the shared `rabbitmq`, each under a name of its own, with `arguments` as asked; deleted afterwards."""
    made: list[str] = []
    numbers = itertools.count(1)
    word = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60]

    async def create(arguments: object = None, **more: object) -> str:
        name = f"{word}-{next(numbers)}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        made.append(await rabbitmq.declare(name, arguments, **more))
        return name

    yield create
    for name in made:
        await rabbitmq.delete(name)


@pytest.fixture(params=["redis", "valkey"])
async def redis_server(request: pytest.FixtureRequest) -> AsyncIterator[RedisServer]:
    """A Redis for one test alone, and then a Valkey: they start in milliseconds."""
    async with _own_redis(request.param) as server:
        serves(request, f"{server.name} {await server.version()} (started here)")
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A real browser for the tests of the page, which share it and its event loop: it takes seconds to start. Each page is in a context of
    its own, and so knows nothing of the others."""
    try:
        find_chromium()
    except Unavailable as error:
        _missing(error)
    serves(request, "Chromium (started here)")
    async with browser() as started:
        yield started


def _own_rabbitmq() -> RabbitMQServer:
    try:
        return RabbitMQServer(wanted_rabbitmq())
    except Unavailable as error:
        _missing(error)
        raise


def _own_redis(server: str) -> RedisServer:
    try:
        return RedisServer(server)
    except Unavailable as error:
        _missing(error)
        raise


def _own_server(brokers: int = 1, settings: Mapping[str, str] | None = None) -> KafkaServer:
    try:
        return KafkaServer(brokers, settings)
    except Unavailable as error:
        _missing(error)
        raise
