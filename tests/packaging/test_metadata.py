"""What an index and an installer read of the two distributions."""

from __future__ import annotations

import re
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from tests.packaging.environment import UV, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_an_index_takes_both(dist: Path) -> None:
    """By the check that is made before an upload; the description can be rendered."""
    run([UV, "tool", "run", "--quiet", "--from", "twine>=6", "twine", "check", "--strict", *dist.glob("holdgate-*")])


def test_every_classifier_exists(metadata: Message) -> None:
    """An index refuses one that it does not know."""
    listed = metadata.get_all("Classifier") or []
    assert listed
    code = f"from trove_classifiers import classifiers; unknown = set({listed!r}) - classifiers; assert not unknown, unknown"
    run([UV, "run", "--quiet", "--no-project", "--with", "trove-classifiers", "python", "-c", code])


def test_without_an_extra_there_is_one_requirement(metadata: Message) -> None:
    """anyio; everything else belongs to an extra."""
    required = metadata.get_all("Requires-Dist") or []
    assert [each for each in required if "extra ==" not in each] == ["anyio>=4.0"]


def test_its_entry_points_are_these(wheel: Path) -> None:
    """The command, the laboratory's commands, and the plugin of pytest."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        lines = archive.read(name).decode().split("\n")
    assert [line for line in lines if line] == [
        "[console_scripts]",
        "holdgate = holdgate.__main__:main",
        "[holdgate.commands]",
        "demo = holdgate_lab.demo.command:demo",
        "simulate = holdgate_lab.simulate.app:simulate",
        "[pytest11]",
        "holdgate = holdgate.pytest_plugin",
    ]


def test_nothing_in_it_is_somebody_elses(wheel: Path) -> None:
    """No file has another's notice of copyright or licence: who brings one in brings its licence too, and names it in pyproject.toml."""
    notice = re.compile(rb"copyright (\(c\)|[0-9]{4})|@license|licensed under|spdx-license-identifier", re.IGNORECASE)
    with zipfile.ZipFile(wheel) as archive:
        marked = [name for name in archive.namelist() if ".dist-info/" not in name and notice.search(archive.read(name))]
        (licence,) = (name for name in archive.namelist() if "/licenses/" in name)
        assert notice.search(archive.read(licence))  # the pattern finds one where there is one
    assert marked == []
