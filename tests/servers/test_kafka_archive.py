"""Who makes the archive of Kafka's classes, and when it counts as made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.kafka_archive import archive_of, to_be_made


def test_it_is_made_once(tmp_path: Path) -> None:
    """The first makes it, and the next finds it."""
    archive = tmp_path / "kafka.jsa"
    with to_be_made(archive) as path:
        assert path is not None
        path.write_text("classes")
        assert not archive.exists()

    assert archive.read_text() == "classes"
    with to_be_made(archive) as path:
        assert path is None


def test_nobody_waits_while_it_is_made(tmp_path: Path) -> None:
    """A second one starts its broker without it."""
    with to_be_made(tmp_path / "kafka.jsa") as first, to_be_made(tmp_path / "kafka.jsa") as second:
        assert first is not None
        assert second is None


def test_what_was_not_finished_is_made_anew(tmp_path: Path) -> None:
    """A broker that ended by force leaves none, and a run that was killed leaves a half of one."""
    archive = tmp_path / "kafka.jsa"
    with to_be_made(archive) as path:
        assert path is not None
    assert not archive.exists()

    path.write_text("half of it")
    with to_be_made(archive) as path:
        assert path is not None
        assert not path.exists()


def test_another_java_or_other_options_have_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JVM would refuse that of another, and start as slowly as without."""
    monkeypatch.setattr("tests.servers.kafka_archive.java_version", lambda: "17")
    before = archive_of("/cache/kafka-4.1.0/*", ["-Xmx512m"])
    assert before.parent == Path("/cache")
    assert archive_of("/cache/kafka-4.1.0/*", ["-Xmx256m"]) != before
    monkeypatch.setattr("tests.servers.kafka_archive.java_version", lambda: "21")
    assert archive_of("/cache/kafka-4.1.0/*", ["-Xmx512m"]) != before
