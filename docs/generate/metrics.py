"""The tables of all series, made from the one list of their names."""

from __future__ import annotations

from docs.generate.tables import table

from holdgate.telemetry import names


def series_table() -> str:
    """Return a row for each series: its two names, kind, labels and what it says."""
    rows = [
        (f"`{series.prometheus}`", f"`{series.name}`", _kind(series), ", ".join(f"`{label}`" for label in series.labels), series.help)
        for series in names.ALL
    ]
    return table(("Prometheus", "OpenTelemetry", "kind, unit", "labels", "what it says"), rows)


def _kind(series: names.Series) -> str:
    unit = series.unit.strip("{}")
    if unit == "1":
        return series.kind
    if unit == "s":
        return f"{series.kind}, seconds"
    what, _, span = unit.partition("}/")
    return f"{series.kind}, {what}s a second" if span else f"{series.kind}, {what}s"
