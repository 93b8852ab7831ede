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

from tests.servers.unavailable import Unavailable, may_install

if TYPE_CHECKING:
    from collections.abc import Iterator

KAFKA = "4.1.0"
LOG4J = "2.24.3"
# Kafka 4 brokers are compiled for it.
OLDEST_JAVA = 17
# The names are the same on Debian and Ubuntu; their default Java has been new enough since Debian 12 and Ubuntu 24.04.
PACKAGES = ("default-jre-headless", "maven")
REMEDY = (
    "HOLDGATE_TEST_INSTALL=1 make test installs Java and Maven by apt-get, HOLDGATE_TEST_KAFKA=host:port make test takes a broker of yours"
)
# 43 MB; a slow mirror must not stop a first run, a dead one must not stop it for ever.
MAVEN_TIMEOUT = 600

POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>holdgate</groupId>
  <artifactId>test-kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>{LOG4J}</version></dependency>
  </dependencies>
</project>
"""


def classpath() -> str:
    """Return the class path of a Kafka broker, after bringing here what is missing and may be brought.

    Raises Unavailable when Java or the jars cannot be had.
    """
    folder = cache_folder() / f"kafka-{KAFKA}-{hashlib.sha256(POM.encode()).hexdigest()[:8]}"
    needed = ["java"] if folder.exists() else ["java", "mvn"]
    missing = [command for command in needed if shutil.which(command) is None]
    if missing and may_install():
        _install(missing)
        missing = [command for command in needed if shutil.which(command) is None]
    if missing:
        raise Unavailable("Kafka", f"not installed: {' and '.join(missing)}", REMEDY)
    _check_java()
    if not folder.exists():
        _bring_jars(folder)
    return f"{folder}/*"


def cache_folder() -> Path:
    """Where slow installs are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdgate"


def _install(missing: list[str]) -> None:
    print(f"tests: {' and '.join(missing)} missing; installing {' '.join(PACKAGES)} by apt-get", file=sys.stderr, flush=True)
    if shutil.which("apt-get") is None:
        raise Unavailable("Kafka", f"not installed: {' and '.join(missing)}, and there is no apt-get", REMEDY)
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = [*root, "env", "DEBIAN_FRONTEND=noninteractive"]
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run([*environment, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable("Kafka", f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}", REMEDY)


def _check_java() -> None:
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < OLDEST_JAVA:
        raise Unavailable(
            "Kafka", f"Java {OLDEST_JAVA} or newer is needed, this is: {said.strip().splitlines()[0] if said else 'unknown'}", REMEDY
        )


def _bring_jars(folder: Path) -> None:
    with _only_one(folder.with_name(folder.name + ".lock")):
        if folder.exists():
            return
        for left_behind in folder.parent.glob("unfinished-*"):
            shutil.rmtree(left_behind)
        print(f"tests: bringing Kafka {KAFKA} from Maven Central into {folder}", file=sys.stderr, flush=True)
        # In a folder beside it, renamed when complete: a run that is killed here leaves no half of it under the final name.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
            jars = Path(unfinished) / "jars"
            _run_maven(Path(unfinished), jars)
            jars.rename(folder)


def _run_maven(folder: Path, jars: Path) -> None:
    (folder / "pom.xml").write_text(POM)
    command = ["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MAVEN_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Unavailable("Kafka", f"Maven gave no answer within {MAVEN_TIMEOUT} s", REMEDY) from None
    if done.returncode != 0 or not list(jars.glob(f"kafka_*-{KAFKA}.jar")):
        raise Unavailable("Kafka", f"Maven could not bring its jars: {(done.stdout + done.stderr).strip()[-300:]}", REMEDY)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    # Two runs at once: the second waits for the first, and then finds the jars.
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
