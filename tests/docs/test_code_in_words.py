"""What the pages say in words about the code: no setting, event or error text is missing or made up."""

from __future__ import annotations

import inspect
import re

import pytest
from docs.generate.log_lines import EXAMPLES, OTHERS, STORY, in_the_code
from docs.generate.meanings import MEANINGS, OTHER_REASONS
from docs.generate.pages import ROOT, pages
from docs.generate.settings import OWNERS, settings_of
from docs.generate.states import REASONS
from tests.lab.demo.examples import REPORT

from holdgate.core import Reason
from holdgate.core import events as core_events
from holdgate.fleet import events as fleet_events
from holdgate.flow import events as flow_events
from holdgate_lab.demo.report import rows

SOURCE = "\n".join(file.read_text() for file in sorted((ROOT / "src").rglob("*.py")))
QUOTED = re.compile(r"^\| (?:[A-Z]+ \| )?`([^`]+)`", re.MULTILINE)


@pytest.mark.parametrize("owner", OWNERS)
def test_every_setting_has_a_meaning(owner: str) -> None:
    """And no meaning is left of a setting that is gone."""
    assert sorted(MEANINGS[owner]) == sorted(setting.name for setting in settings_of(owner)), "mend docs/generate/meanings.py"


@pytest.mark.parametrize("owner", OWNERS)
def test_every_default_has_one_reason(owner: str) -> None:
    """In the code beside it or in meanings.py, and not in both."""
    without = sorted(setting.name for setting in settings_of(owner) if setting.default is not None and not setting.reason)

    assert without == sorted(OTHER_REASONS.get(owner, {})), "write the reason beside the default, or into docs/generate/meanings.py"


def test_nobody_else_has_meanings() -> None:
    """An owner that is gone takes its texts along."""
    assert MEANINGS.keys() == OWNERS.keys() >= OTHER_REASONS.keys()


def test_every_event_has_an_example() -> None:
    """Each event that a circuit, the engine or a fleet can announce is in the table of log lines."""
    classes = [*vars(core_events).values(), *vars(flow_events).values(), *vars(fleet_events).values()]
    roots = core_events.Event | flow_events.FlowEvent | fleet_events.FleetEvent
    kinds = {each for each in classes if inspect.isclass(each) and issubclass(each, roots)}
    kinds -= {core_events.Event, flow_events.FlowEvent, flow_events.SourceEvent, fleet_events.FleetEvent}  # what is common to several

    told = [event for turns, _ in STORY for turn in turns for event in turn]
    assert {type(event) for event in [*told, *(event for event, _ in EXAMPLES)]} == kinds


def test_every_reason_is_explained() -> None:
    """Why a circuit opens."""
    assert set(REASONS) == set(Reason)


def test_texts_written_by_hand_are_in_the_code() -> None:
    """The fixed words of each quoted text are those of a message in src; what varies in them is not looked at."""
    text = (ROOT / "docs" / "reference" / "errors.md").read_text()
    by_hand = re.sub(r"<!-- generate: .+?<!-- end -->", "", text, flags=re.DOTALL)
    quoted = [line for line in QUOTED.findall(by_hand) if " " in line]

    assert len(quoted) > 4
    for line in quoted:
        assert _longest_words(line) in SOURCE, f"{line!r} is not said by the code"


def _longest_words(line: str) -> str:
    """The longest stretch without numbers, names and quotes, which is what an f-string holds fixed."""
    stretches = re.split(r"\s*(?:[\w.]*\d[\w.:]*|\S*[\[\]<>='\"]\S*|\.\.\.|\b[A-Z]\w+\b)\s*", line)
    return max(stretches, key=len)


def test_the_demos_table_has_the_rows_of_today() -> None:
    """The README shows a run of the demo: when its rows change, run `make demo` and paste it anew."""
    readme = (ROOT / "README.md").read_text()

    for label, _ in rows(REPORT.guarded):
        assert f"| {label} " in readme


def test_every_line_of_the_log_has_a_meaning_and_no_other_has() -> None:
    """Those that stand in the code as they are. The lines of runs are in the stories that are played for the page."""
    formats = {line for _, line in in_the_code()}

    assert formats >= OTHERS.keys()
    assert all(meaning for meaning in OTHERS.values())


def test_extracts_of_logs_are_made_by_runs() -> None:
    """No page has a line of a log that was written by hand, and could be stale."""
    by_hand = [
        (page.name, line)
        for page in pages()
        for line in re.sub(r"<!-- generate: .+?<!-- end -->", "", page.read_text(), flags=re.DOTALL).splitlines()
        if re.match(r"\d\d:\d\d:\d\d +(DEBUG|INFO|WARNING|ERROR)", line)
    ]

    assert by_hand == []
