from __future__ import annotations

from difflib import unified_diff

import pytest
from tests.lab.simulate.golden_reports import FOLDER, comparison_of, reports_of
from tests.lab.simulate.html.reader import read, texts_in, what_it_wants

from holdgate_lab.simulate.html.page import page
from holdgate_lab.simulate.shipped import shipped

pytestmark = pytest.mark.long_file

REMEDY = "if that is what you meant: python -m tests.lab.simulate.golden_reports && python -m docs.generate, and look at what they change"


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_scenario_reports_what_it_did(name: str) -> None:
    """Text and JSON to the last character: time and chance are simulated, so a change is a change of the rules."""
    for file, text in reports_of(name).items():
        before = (FOLDER / file).read_text(encoding="utf-8").splitlines()
        # By whole lines: to look for what is alike inside of lines this long would take minutes.
        changes = list(unified_diff(before, text.splitlines(), file, file, lineterm="", n=0))
        if changes:
            pytest.fail("\n".join([*changes[:40], REMEDY]), pytrace=False)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_scenario_has_a_page_that_needs_nothing(name: str) -> None:
    """Well-formed, with a drawing of each kind of worker, and nothing fetched or run."""
    text = page(comparison_of(name))
    assert what_it_wants(text) == []
    assert texts_in(read(text), "h3") == ["holdgate", "naive", "one probe", "ten probes"]


def test_no_report_is_of_a_scenario_that_is_gone() -> None:
    """One text and one document for each."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.{kind}" for name in shipped() for kind in ("json", "txt"))
