"""CONTRIBUTING and SECURITY: their commands, modules and links exist."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from docs.generate.pages import ROOT
from tests.house.known import ALLOWED, NOT_YET
from tests.house.rules import LONGEST, SHORTEST

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
# Whatever stands in code: between backticks, or in a block.
CODE = re.findall(r"```\n(.*?)```|`([^`\n]+)`", TEXT, re.DOTALL)


def in_code(pattern: str) -> set[str]:
    """What the pattern finds in the commands of CONTRIBUTING."""
    return {found for pair in CODE for text in pair for found in re.findall(pattern, text, re.MULTILINE)}


def test_every_make_target_exists() -> None:
    """A newcomer's first command is no error."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = in_code(r"^make ([a-z][a-z-]*)")

    assert {"setup", "test", "check", "trace"} <= wanted
    assert wanted <= targets, f"the Makefile has no {', '.join(sorted(wanted - targets))}"


def test_every_module_and_variable_of_a_command_exists() -> None:
    """`python -m ...` runs something, and the Makefile reads what is set on its command line."""
    modules = in_code(r"python -m ([a-z_.]+)")
    variables = in_code(r"\b([A-Z_]+)=")
    makefile = (ROOT / "Makefile").read_text()

    assert {"tests.house", "docs.generate"} <= modules
    assert all(find_spec(f"{module}.__main__") is not None for module in modules)
    assert all(f"$({name})" in makefile for name in variables), variables


def test_every_path_in_code_exists() -> None:
    """Files and folders that are named and not linked."""
    paths = in_code(r"^((?:[a-z_.]+/)+[a-z_]+(?:\.[a-z]+)?)$")
    places = [ROOT, ROOT / "src" / "holdgate"]

    assert {"tests/house/allowed.toml", "docs/generate/pages.py", ".ci/run", "flow/gate.py"} <= paths
    assert not [path for path in paths if not any((place / path).exists() for place in places)]


def test_the_rules_are_the_ones_that_are_checked() -> None:
    """The limits of a file's length, and the lists of exceptions."""
    assert f"{SHORTEST} to {LONGEST} lines" in TEXT
    assert all(str(path.relative_to(ROOT)) in TEXT for path in (ALLOWED, NOT_YET))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file or folder of the repository."""
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]

    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_nobody_needs_a_persons_address_to_report() -> None:
    """People come and go; the way to report stays."""
    text = (ROOT / "SECURITY.md").read_text()

    assert "private vulnerability reporting" in text
    assert not re.search(r"\S+@\S+\.\S+", text)


def test_the_readme_leads_there() -> None:
    """Whoever reads one page finds the others."""
    readme = (ROOT / "README.md").read_text()

    assert all(f"({name})" in readme for name in ("CONTRIBUTING.md", "SECURITY.md", "LICENSE"))
