"""The reports of the scenarios that come with holdgate, as they are now. Write them anew and look at what changes:

python -m tests.lab.simulate.golden_reports
"""

from __future__ import annotations

import functools
import io
from pathlib import Path

from rich.console import Console

from holdgate_lab.fleet.outcome import WORKER_KINDS
from holdgate_lab.simulate.command import PLAIN_WIDTH
from holdgate_lab.simulate.comparison import Comparison
from holdgate_lab.simulate.json_report import dumped
from holdgate_lab.simulate.reading import scenario_of
from holdgate_lab.simulate.running import Runs, entrants
from holdgate_lab.simulate.shipped import named, shipped
from holdgate_lab.simulate.text_report import print_report

FOLDER = Path(__file__).parent / "golden"
SEED = 0


@functools.cache
def comparison_of(name: str) -> Comparison:
    """The scenario of this name, as the command line runs it when it is asked for nothing else."""
    scenario = scenario_of(named(name), name)
    runs = Runs(entrants(scenario, [], WORKER_KINDS), SEED)
    assert runs.run(Console(file=io.StringIO()))
    return Comparison(scenario, SEED, tuple(runs.finished))


def reports_of(name: str) -> dict[str, str]:
    """File name and content of each report of a scenario."""
    comparison = comparison_of(name)
    text = io.StringIO()
    print_report(comparison, Console(file=text, width=PLAIN_WIDTH, color_system=None, highlight=False), ascii_only=True)
    return {f"{name}.txt": text.getvalue(), f"{name}.json": dumped(comparison)}


def write() -> None:
    """Write all of them, and name those that changed."""
    for name in shipped():
        for file, text in reports_of(name).items():
            path = FOLDER / file
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                print(f"{path.relative_to(Path.cwd())} changed")


if __name__ == "__main__":
    write()
