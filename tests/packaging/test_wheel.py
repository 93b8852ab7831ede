"""The wheel as a stranger installs it: into a clean environment, at first without any extra. `make test-wheel` runs this.

It has no part in `make test`: building and installing ask a package index.
"""

from __future__ import annotations

import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from tests.packaging.environment import ROOT, Environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Without any extra."""
    environment = Environment(tmp_path_factory.mktemp("bare"), wheel)
    environment.install()
    return environment


@pytest.fixture(scope="module")
def with_cli(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With the command line and no client of any broker."""
    environment = Environment(tmp_path_factory.mktemp("cli"), wheel)
    environment.install("[cli]")
    return environment


def test_it_has_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of both packages in src, their markers for type checkers, the metadata; no tests, no docs."""
    source = ROOT / "src"
    wanted = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"holdgate/py.typed", "holdgate_lab/py.typed"} <= wanted
    assert {name for name in names if ".dist-info/" not in name} == wanted


def test_it_has_its_licence(wheel: Path) -> None:
    """The text that MIT asks to be in all copies, and the metadata that an index reads."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()
        metadata = message_from_string(archive.read(f"{name.partition('/')[0]}/METADATA").decode())
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("MIT", ["LICENSE"])


def test_every_extra_is_offered(wheel: Path) -> None:
    """What error messages and docs tell people to install exists by that name."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode())
    assert {"kafka", "rabbitmq", "cli", "demo", "all"} <= set(metadata.get_all("Provides-Extra") or [])


def test_without_extras_the_core_works(bare: Environment) -> None:
    """A guard lives through an outage on the broker in memory, with nothing but anyio installed."""
    done = bare.python(
        "import asyncio\n"
        "from holdgate import Dependency\n"
        "from holdgate.testing import Outage, ScriptedDependency, rehearse\n"
        'payments = Dependency("payments", failures=ConnectionError)\n'
        "bank = ScriptedDependency(payments)\n"
        "async def handler(delivery): await bank.call()\n"
        "report = rehearse(handler, needs=[payments], deliveries=20, outage=Outage(start=1, end=60))\n"
        "print(len(report.processed), report.problems)\n"
    )
    assert (done.stdout, done.returncode) == ("20 ()\n", 0), done.stderr


@pytest.mark.parametrize(
    ("statement", "command"),
    [
        ("from holdgate.brokers.kafka import KafkaIntake", "pip install 'holdgate[kafka]'"),
        ("from holdgate.brokers.kafka import KafkaDeadLetters", "pip install 'holdgate[kafka]'"),
        ("from holdgate.brokers.rabbitmq import RabbitMQIntake", "pip install 'holdgate[rabbitmq]'"),
        ("from holdgate.brokers.rabbitmq import RabbitMQDeadLetters", "pip install 'holdgate[rabbitmq]'"),
    ],
)
def test_a_missing_client_names_its_extra(bare: Environment, statement: str, command: str) -> None:
    """The error is MissingExtra, an ImportError and a HoldgateError, and has the command that installs what is missing."""
    done = bare.python(
        "from holdgate import HoldgateError\n"
        "from holdgate.errors import MissingExtra\n"
        f"try:\n    {statement}\n"
        "except MissingExtra as error:\n"
        "    assert isinstance(error, ImportError) and isinstance(error, HoldgateError)\n"
        "    print(error)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"is not installed: {command}")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("demo",), ("simulate",), ("replay",)])
def test_the_command_without_its_extra_says_so(bare: Environment, arguments: tuple[str, ...]) -> None:
    """One line with the command that installs it, and exit code 2; no traceback."""
    done = bare.holdgate(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert 'pip install "holdgate[cli]"' in done.stderr


def test_with_the_command_line_alone_what_needs_no_broker_works(with_cli: Environment) -> None:
    """The version, the help of every command, and the demo in memory."""
    assert with_cli.holdgate("--version").stdout.startswith("holdgate ")
    for command in ("demo", "simulate", "replay"):
        assert with_cli.holdgate(command, "--help").returncode == 0
    done = with_cli.holdgate("demo", "--broker", "memory", "--seconds", "4")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("demo",), 'pip install "holdgate[demo]"'),
        (("demo", "--broker", "127.0.0.1:9"), 'pip install "holdgate[demo]"'),
        (("replay", "dead", "--to", "orders", "--bootstrap", "127.0.0.1:9"), "pip install 'holdgate[kafka,cli]'"),
        (("replay", "dead", "--to", "orders", "--url", "amqp://127.0.0.1:9/"), "pip install 'holdgate[rabbitmq,cli]'"),
    ],
)
def test_a_command_without_its_client_names_the_extra(with_cli: Environment, arguments: tuple[str, ...], command: str) -> None:
    """One line with the command that installs the client, and exit code 2; no traceback."""
    done = with_cli.holdgate(*arguments)
    assert done.returncode == 2
    assert command in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_without_confluent_kafka_names_its_extra(wheel: Path, tmp_path: Path) -> None:
    """With aiokafka there and no embedded broker: the same one line."""
    environment = Environment(tmp_path / "environment", wheel)
    environment.install("[cli,kafka]")
    done = environment.holdgate("demo")
    assert done.returncode == 2
    assert 'pip install "holdgate[demo]"' in done.stderr
    assert "Traceback" not in done.stderr
