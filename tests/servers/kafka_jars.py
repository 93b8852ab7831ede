"""Apache Kafka without a download page: its jars come from Maven Central, once, into the user's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.apt import apt_get, cache_folder
from tests.servers.kafka_archive import java_version
from tests.servers.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# What stands in for a series. The first is what the tests use when nobody asks for one, the last the newest that Maven Central had when
# this was written; all are compiled for Java 17 (their brokers' classes: file version 61).
RELEASES: Mapping[str, str] = {"4.1": "4.1.0", "4.4": "4.4.0"}
DEFAULT = "4.1"
LOG4J = "2.24.3"
OLDEST_JAVA = 17
# The names are the same on Debian and Ubuntu; their default Java has been new enough since Debian 12 and Ubuntu 24.04.
PACKAGES = ("default-jre-headless", "maven")
REMEDY = (
    "HOLDGATE_TEST_INSTALL=1 make test installs Java and Maven by apt-get, HOLDGATE_TEST_KAFKA=host:port make test takes a broker of yours"
)
# 43 MB; a slow mirror must not stop a first run, a dead one must not stop it for ever.
MAVEN_TIMEOUT = 600

POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>holdgate</groupId>
  <artifactId>test-kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{kafka}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{log4j}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>{log4j}</version></dependency>
  </dependencies>
</project>
"""


def wanted_kafka() -> str:
    """The series or release that somebody asked for by HOLDGATE_TEST_KAFKA_VERSION ("4.4", "4.4.0"), else the usual one."""
    return os.environ.get("HOLDGATE_TEST_KAFKA_VERSION") or DEFAULT


def release_of(version: str) -> str:
    """The release ("4.4.0") of a series, or that release itself. Raises Unavailable for what is neither."""
    release = RELEASES.get(version, version)
    if re.fullmatch(r"\d+\.\d+\.\d+", release) is None:
        raise Unavailable("Kafka", f"version {version} is none of {', '.join(RELEASES)}", "name one of these, or a release in full: 4.4.0")
    return release


def classpath(version: str | None = None) -> str:
    """Return the class path of a Kafka broker of this version, after bringing here what is missing and may be brought.

    `version` None: the wanted one. Raises Unavailable when Java or the jars cannot be had.
    """
    kafka = release_of(version or wanted_kafka())
    pom = POM.format(kafka=kafka, log4j=LOG4J)
    folder = cache_folder() / f"kafka-{kafka}-{hashlib.sha256(pom.encode()).hexdigest()[:8]}"
    needed = ["java"] if folder.exists() else ["java", "mvn"]
    if not _has(needed):
        apt_get("Kafka", PACKAGES, REMEDY, is_here=lambda: _has(needed))
    _check_java()
    if not folder.exists():
        _bring_jars(folder, kafka, pom)
    return f"{folder}/*"


def _has(commands: Sequence[str]) -> bool:
    return all(shutil.which(command) is not None for command in commands)


def _check_java() -> None:
    said = java_version()
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < OLDEST_JAVA:
        raise Unavailable(
            "Kafka", f"Java {OLDEST_JAVA} or newer is needed, this is: {said.strip().splitlines()[0] if said else 'unknown'}", REMEDY
        )


def _bring_jars(folder: Path, kafka: str, pom: str) -> None:
    with _only_one(folder.with_name(folder.name + ".lock")):
        if folder.exists():
            return
        for left_behind in folder.parent.glob("unfinished-*"):
            shutil.rmtree(left_behind)
        print(f"tests: bringing Kafka {kafka} from Maven Central into {folder}", file=sys.stderr, flush=True)
        # In a folder beside it, renamed when complete: a run that is killed here leaves no half of it under the final name.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
            jars = Path(unfinished) / "jars"
            _run_maven(Path(unfinished), jars, kafka, pom)
            jars.rename(folder)


def _run_maven(folder: Path, jars: Path, kafka: str, pom: str) -> None:
    (folder / "pom.xml").write_text(pom)
    command = ["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MAVEN_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Unavailable("Kafka", f"Maven gave no answer within {MAVEN_TIMEOUT} s", REMEDY) from None
    if done.returncode != 0 or not list(jars.glob(f"kafka_*-{kafka}.jar")):
        raise Unavailable("Kafka", f"Maven could not bring its jars: {(done.stdout + done.stderr).strip()[-300:]}", REMEDY)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    # Two runs at once: the second waits for the first, and then finds the jars.
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
