"""The plots of docs/reference/benchmarks.md, drawn from the tables that stand there: the same figures, the same file.

    python -m benchmarks.plots

Needs pygal, which `make bench` installs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.page import last_number, number, rows

FOLDER = Path(__file__).parent.parent / "docs" / "plots"


def draw() -> None:
    """Write all plots."""
    FOLDER.mkdir(exist_ok=True)
    good = {row[""]: number(row["a success, µs"]) for row in rows("peers")}
    bad = {row[""]: number(row["a refusal by exception, µs"]) for row in rows("peers")}
    bars("breakers", "µs of a call through a breaker", {"a success": good, "a refusal by exception": bad})
    kafka = {row["loop"].replace("`", ""): number(row["throughput, bare `async for` = 1"]) for row in rows("kafka_throughput")}
    bars("kafka", "Kafka: throughput, bare async for = 1", {"throughput": kafka})
    cost = rows("outage_cost")
    calls = {
        guard: {row["broker"]: number(row["handler calls"]) for row in cost if row["guard"] == guard}
        for guard in ("without", "with holdgate")
    }
    bars("outages", "Handler calls for 400 messages, three outages", calls)
    fleet()


def fleet() -> None:
    """Write those of twenty workers, alone and as a fleet. A bar is the worst of its seeds."""
    worlds = [row for row in rows("fleet") if row["world"] in {"outage", "silence", "weak", "cold", "flapping"}]
    by_way("fleet-calls", "Failed calls of twenty workers", worlds, "world", "failed calls")
    by_way("fleet-closed", "Seconds from the recovery until all circuits are closed", worlds, "world", "all closed after, s")
    by_way("fleet-scenarios", "Failed calls of twenty guards", rows("fleet_scenarios"), "scenario", "failed calls")


def by_way(name: str, title: str, table: list[dict[str, str]], row: str, column: str) -> None:
    """Write one plot of a table that has each of its rows for those who decide alone, and for a fleet."""
    ways = dict.fromkeys(each["who decides"] for each in table)
    bars(name, title, {who: {each[row]: last_number(each[column]) for each in table if each["who decides"] == who} for who in ways})


def bars(name: str, title: str, series: dict[str, dict[str, float]]) -> None:
    """One horizontal bar per entry and series, its value beside it."""
    import pygal
    from pygal.style import CleanStyle

    # No script and no font from elsewhere, and no random id: it works offline, and the same figures give the same file.
    chart: Any = pygal.HorizontalBar(
        js=(), disable_xml_declaration=True, style=CleanStyle(font_family="sans-serif"), print_values=True,
        title=title, width=900, height=120 + 40 * len(next(iter(series.values()))) * len(series), show_legend=len(series) > 1,
    )  # fmt: skip
    chart.uuid = name
    # It draws from below.
    labels = list(next(iter(series.values())))[::-1]
    chart.x_labels = labels
    for label, values in series.items():
        chart.add(label, [values[each] for each in labels])
    chart.render_to_file(str(FOLDER / f"{name}.svg"))


if __name__ == "__main__":
    draw()
