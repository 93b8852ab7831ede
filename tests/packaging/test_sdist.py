"""The source distribution: what it has, and that the wheel of it is the wheel of the tree."""

from __future__ import annotations

import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from tests.packaging.environment import ROOT, UV, run

pytestmark = pytest.mark.slow


def in_the_tree(*arguments: str) -> set[str]:
    """What git lists; skips where this is no checkout, as in an unpacked source distribution."""
    done = subprocess.run(["git", "ls-files", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout, so nobody says which files belong to the project")
    return set(done.stdout.split())


def test_it_has_all_files_of_the_project_and_its_metadata(sdist: Path) -> None:
    """Tests, docs and examples too, so that whoever packages it can run them; nothing that is ignored, and no folder beside the list."""
    included = tuple(
        each.lstrip("/")
        for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    )
    wanted = {
        name
        for name in in_the_tree("--cached", "--others", "--exclude-standard")
        if name.split("/")[0] in included and (ROOT / name).exists()
    }
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert names == wanted | {"PKG-INFO"}


def test_every_tracked_file_is_in_the_list(sdist: Path) -> None:
    """A new folder at the top is put into the list of pyproject.toml, or left out of the project."""
    with tarfile.open(sdist) as archive:
        tops = {member.name.split("/")[1] for member in archive.getmembers()}
    assert {name.split("/")[0] for name in in_the_tree()} <= tops


def test_no_file_is_ours_alone(sdist: Path) -> None:
    """No owner of the machine that built it, and nothing that leads out of its own folder."""
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            assert (member.isfile(), member.uname, member.gname) == (True, "", ""), member.name
            assert ".." not in Path(member.name).parts


def test_its_wheel_is_that_of_the_tree(wheel: Path, tmp_path: Path) -> None:
    """Nothing that the package needs is missing from the source distribution."""
    run([UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT])
    (direct,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(direct) as tree, zipfile.ZipFile(wheel) as built:
        assert {each.filename: each.CRC for each in tree.infolist()} == {each.filename: each.CRC for each in built.infolist()}
