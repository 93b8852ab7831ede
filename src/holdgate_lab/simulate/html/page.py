"""The page: what was simulated, what came of it, the table, and then the drawings. It works without a script, a network or colours."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from holdgate_lab.simulate import words
from holdgate_lab.simulate.comparison import Comparison, FinishedRun
from holdgate_lab.simulate.html.chart import Chart, Markup, element, joined, legend
from holdgate_lab.simulate.html.series import Column, Scales, columns_of, scales_of, state_of
from holdgate_lab.simulate.rows import NOTHING, Row, Section, sections


def page(comparison: Comparison) -> str:
    """The whole document."""
    head, facts = words.headline(comparison)
    parts = [element("h1", comparison.scenario.name), element("p", comparison.scenario.description), element("p", facts, class_="facts")]
    parts += [element("h2", "What came of it"), _verdicts(comparison)]
    changes = list(words.differences(comparison))
    if changes:
        parts += [element("h2", "Which settings differ"), element("ul", *(element("li", line) for line in changes))]
    if comparison.runs:
        parts += [element("h2", "Side by side"), _wide("The same facts for every run", _table(comparison)), *_drawings(comparison)]
    body = element("body", element("main", joined((part for part in parts), "\n")))
    return "<!doctype html>\n" + element("html", "\n", _head(head), "\n", body, "\n", lang="en") + "\n"


def _head(title: str) -> Markup:
    style = (files("holdgate_lab.simulate.html") / "style.css").read_text(encoding="utf-8")
    # Nothing but this very style may be used: a page that is mailed around should not be able to do anything.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} - holdgate simulate"),
        element("style", Markup(style)),
    )


def _verdicts(comparison: Comparison) -> Markup:
    lines = words.verdicts(comparison)
    return element("ul", *(element("li", line, class_="broken" if line.startswith("BROKEN") else None) for line in lines))


def _table(comparison: Comparison) -> Markup:
    labels = [run.entrant.label for run in comparison.runs]
    head = element("thead", _row("", labels, scope="col"))
    return element("table", head, *(_section(section, len(labels)) for section in sections(comparison)))


def _section(section: Section, width: int) -> Markup:
    title = element("tr", element("th", section.title, scope="rowgroup", colspan=width + 1))
    return element("tbody", title, *(_fact(row) for row in section.rows), class_="section")


def _fact(row: Row) -> Markup:
    label = element("th", row.label, scope="row", class_="part" if row.is_part else None)
    return element("tr", label, *(element("td", value) for value in row.values))


def _row(first: str, others: Sequence[str], scope: str) -> Markup:
    return element("tr", element("th", first, scope=scope), *(element("th", each, scope=scope) for each in others))


def _drawings(comparison: Comparison) -> Iterator[Markup]:
    columns = [columns_of(run) for run in comparison.runs]
    scales = scales_of(comparison, columns)
    yield element("h2", "On one time axis")
    yield element("p", "All drawings have the same scales. A pointer that rests on one is told the figures; below each they are a table.")
    yield legend()
    for run, each in zip(comparison.runs, columns, strict=True):
        yield _drawing(run, each, scales)


def _drawing(run: FinishedRun, columns: Sequence[Column], scales: Scales) -> Markup:
    label, told = run.entrant.label, words.summary(run)
    picture = _wide(f"Drawing of {label}", Chart(run, columns, scales).drawn(f"{label} over {scales.seconds:g} s", told))
    samples = element("details", element("summary", f"{label} as a table"), _wide(f"Samples of {label}", _samples(run, columns)))
    return element("section", element("h3", label), element("figure", picture, element("figcaption", told)), samples)


def _samples(run: FinishedRun, columns: Sequence[Column]) -> Markup:
    names = [spec.name for spec in run.entrant.scenario.dependencies]
    facts = ("state", "limit", "in flight", "calls/s", "failed/s")
    heads = ["workers", *(f"{name}: {fact}" for name in names for fact in facts), "waiting", "held"]
    rows = (
        element("tr", element("th", f"{column.end:g} s", scope="row"), *(element("td", value) for value in _cells(column, names)))
        for column in columns
    )
    return element("table", element("thead", _row("until", heads, scope="col")), element("tbody", *rows))


def _cells(column: Column, names: Sequence[str]) -> Iterator[str]:
    yield str(column.workers)
    for name in names:
        seen = column.dependencies[name]
        limit = NOTHING if seen.limit is None else str(seen.limit)
        yield from (state_of(seen), limit, str(seen.in_flight), f"{seen.calls:.4g}", f"{seen.failures:.4g}")
    yield from (str(column.waiting), str(column.held))


def _wide(label: str, content: Markup) -> Markup:
    """What may be wider than the screen scrolls by itself, also with the keyboard."""
    return element("div", content, class_="wide", tabindex=0, role="region", aria_label=label)
