"""What a JVM has worked out about Kafka's classes, kept for the next one: with it a broker starts in half of the processor's time."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def archive_of(classpath: str, options: Sequence[str]) -> Path:
    """Return where the archive for these jars, this machine's Java and these options of it is, or would be: beside the folder of jars."""
    folder = Path(classpath).parent
    key = hashlib.sha256("\n".join([java_version(), *options]).encode()).hexdigest()[:8]
    return folder.with_name(f"{folder.name}-{key}.jsa")


@contextmanager
def to_be_made(archive: Path) -> Iterator[Path | None]:
    """Give the path under which this process is to write the archive; what is there at the end takes its place.

    None means that it is there, or that another process is making it: nobody waits for it.
    """
    if archive.exists():
        yield None
        return
    with archive.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Renamed when complete: a run that is killed before leaves no half of it under the final name.
        unfinished = archive.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        yield unfinished
        if unfinished.exists():
            unfinished.rename(archive)


def java_version() -> str:
    """Return what `java -version` prints."""
    return _said_by(shutil.which("java") or "java")


@functools.cache
def _said_by(java: str) -> str:
    return subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
