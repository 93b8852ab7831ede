from __future__ import annotations

import sys

import pytest

from tests.servers import __main__, kafka_jars, resolve
from tests.servers.kafka_address import KafkaAddress
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import RabbitMQAddress
from tests.servers.unavailable import Unavailable, in_ci, may_install


@pytest.fixture
def bare_machine(monkeypatch, tmp_path) -> None:
    """A machine with an empty PATH, an empty cache, and nobody who allowed an installation."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CI", "HOLDGATE_TEST_INSTALL", "HOLDGATE_TEST_KAFKA"):
        monkeypatch.delenv(name, raising=False)


async def test_a_named_broker_that_is_silent_is_named(monkeypatch) -> None:
    """A wrong HOLDGATE_TEST_KAFKA is told, and no other broker is used instead."""
    port = reserve_port()
    monkeypatch.setenv("HOLDGATE_TEST_KAFKA", f"127.0.0.1:{port}")
    with pytest.raises(Unavailable, match=f"HOLDGATE_TEST_KAFKA=127.0.0.1:{port} does not answer"):
        async with resolve.shared_kafka():
            pass
    release_port(port)


def test_a_server_is_called_by_where_it_comes_from(monkeypatch) -> None:
    """With its version where it says one: somebody else's Kafka does not, a RabbitMQ does."""
    monkeypatch.delenv("HOLDGATE_TEST_KAFKA", raising=False)
    assert resolve.label(KafkaAddress("localhost:1")) == "Kafka (in Docker)"
    monkeypatch.setenv("HOLDGATE_TEST_RABBITMQ", "amqp://localhost:1/")
    named = RabbitMQAddress("amqp://localhost:1/", version="4.3")
    assert resolve.label(named) == "RabbitMQ 4.3 (named by HOLDGATE_TEST_RABBITMQ)"


@pytest.mark.usefixtures("bare_machine")
def test_what_is_missing_and_the_remedy_are_told() -> None:
    """Without Java and Maven, and without permission, nothing is installed: the error names both and the commands that help."""
    with pytest.raises(Unavailable, match="not installed: default-jre-headless maven") as caught:
        kafka_jars.classpath()
    assert "HOLDGATE_TEST_INSTALL=1 make test" in str(caught.value)


@pytest.mark.usefixtures("bare_machine")
def test_only_ci_or_a_word_allows_installing(monkeypatch) -> None:
    """System packages are installed for CI=true or HOLDGATE_TEST_INSTALL=1, never silently."""
    assert not may_install()
    monkeypatch.setenv("HOLDGATE_TEST_INSTALL", "1")
    assert may_install()
    assert not in_ci()
    monkeypatch.delenv("HOLDGATE_TEST_INSTALL")
    monkeypatch.setenv("CI", "true")
    assert may_install()
    assert in_ci()


@pytest.mark.usefixtures("bare_machine")
def test_an_old_java_is_refused(monkeypatch, tmp_path) -> None:
    """A Java that cannot run Kafka 4 is named with its version."""
    for name, text in {"java": "echo 'openjdk version \"11.0.2\"' >&2", "mvn": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(Unavailable, match=r'Java 17 or newer is needed, this is: openjdk version "11.0.2"'):
        kafka_jars.classpath()


@pytest.mark.usefixtures("bare_machine")
def test_a_failed_maven_leaves_no_half_of_the_jars(monkeypatch, tmp_path) -> None:
    """When Maven fails, its words are told, and the next run begins anew."""
    for name, text in {"java": "echo 'openjdk version \"17.0.2\"' >&2", "mvn": "echo no route to the registry; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(Unavailable, match="no route to the registry"):
        kafka_jars.classpath()
    assert list((tmp_path / "cache" / "holdgate").glob("*/")) == []


@pytest.mark.parametrize(("asked", "release"), [(None, "4.1.0"), ("4.4", "4.4.0"), ("4.3.1", "4.3.1")])
def test_a_series_and_a_release_are_both_a_version(monkeypatch, asked: str | None, release: str) -> None:
    """HOLDGATE_TEST_KAFKA_VERSION names either; without it, it is the usual one."""
    monkeypatch.delenv("HOLDGATE_TEST_KAFKA_VERSION", raising=False)
    if asked:
        monkeypatch.setenv("HOLDGATE_TEST_KAFKA_VERSION", asked)
    assert kafka_jars.release_of(kafka_jars.wanted_kafka()) == release


@pytest.mark.parametrize("version", ["5", "4.4.0/../..", "latest"])
def test_an_unknown_kafka_is_refused(version: str) -> None:
    """What is neither a known series nor a release in full is named, with what there is."""
    with pytest.raises(Unavailable, match=r"is none of 4\.1, 4\.4; name one of these"):
        kafka_jars.classpath(version)


@pytest.mark.usefixtures("bare_machine")
def test_each_version_has_jars_of_its_own(monkeypatch, tmp_path) -> None:
    """The version asked for is what Maven is asked for, and no other version's folder is used for it."""
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"17.0.2\"' >&2\n")
    (tmp_path / "mvn").write_text('#!/bin/sh\nwhile read -r line; do case $line in *kafka_2.13*) echo "$line"; esac; done <"$4"; exit 1\n')
    for name in ("java", "mvn"):
        (tmp_path / name).chmod(0o755)
    with pytest.raises(Unavailable, match=r"<version>4\.4\.0</version>"):
        kafka_jars.classpath("4.4")


def test_getting_kafka_says_which(monkeypatch, capsys) -> None:
    """`python -m tests.servers get kafka` names the release, for .ci/run's log."""
    monkeypatch.setattr(kafka_jars, "classpath", lambda version: "jars/*")
    monkeypatch.setattr(sys, "argv", ["servers", "get", "kafka", "--version", "4.4"])
    __main__.main()
    assert capsys.readouterr().out == "Kafka 4.4.0 is here\n"
