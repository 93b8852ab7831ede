"""Prometheus: a collector that reads a guard when it is scraped, and the page for a `/metrics` of your own.

    from prometheus_client import REGISTRY, start_http_server
    from holdgate.telemetry.prometheus import GuardCollector

    async with Guard(...) as guard:
        REGISTRY.register(GuardCollector(guard))
        start_http_server(9100)

Nothing is counted for Prometheus: the floors below keep plain integers, and a scrape turns them into samples. `start_http_server` answers
in a thread of its own, which is fine: reading.py says how. For several guards in one process, register a collector for each with labels of
your own, because two of them would report the same series twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from holdgate.core.totals import Histogram
from holdgate.errors import MissingExtra
from holdgate.telemetry import names
from holdgate.telemetry.names import Series
from holdgate.telemetry.reading import Labels, Readable, Readings

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtra("prometheus-client is not installed: pip install 'holdgate[prometheus]'") from error

# Prometheus' own name for what is above the last bound.
_ABOVE = "+Inf"


class GuardCollector(Collector):
    """Collects the series of one guard, for a registry of `prometheus_client`.

    - `partitions`: whether `holdgate_hold_age_seconds` is given for each partition instead of each topic. A topic of a thousand partitions
      is a thousand series then.
    - `labels`: names and values that all samples get, as in {"worker": "orders"}. None means no more.

    Raises ValueError for labels that a series has already.
    """

    def __init__(self, guard: Readable, *, partitions: bool = False, labels: Mapping[str, str] | None = None) -> None:
        self._readings = Readings(guard, partitions=partitions)
        self._labels = dict(labels or {})
        taken = {label for series in names.ALL for label in (*series.labels, "le")} & self._labels.keys()
        if taken:
            raise ValueError(f"labels={self._labels!r} must have other names than series have already, got {sorted(taken)}")

    def describe(self) -> Iterable[Metric]:
        """Return the families without a sample, so that registering a collector needs no guard that runs."""
        return [self._family(series, {}) for series in names.ALL]

    def collect(self) -> Iterator[Metric]:
        """Yield all families that have a sample now."""
        values = self._readings.read()
        for series, samples in values.items():
            yield self._family(series, samples)

    def _family(self, series: Series, samples: Mapping[Labels, float | Histogram]) -> Metric:
        labels, own = (*series.labels, *self._labels), tuple(self._labels.values())
        if series.kind == "histogram":
            histograms = HistogramMetricFamily(series.prometheus, series.help, labels=labels)
            for values, sample in samples.items():
                if isinstance(sample, Histogram):
                    histograms.add_metric((*values, *own), _buckets(sample), sample.sum)
            return histograms
        kind = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
        family = kind(series.prometheus, series.help, labels=labels)
        for values, sample in samples.items():
            if not isinstance(sample, Histogram):
                family.add_metric((*values, *own), sample)
        return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus has them: each counts everything up to its bound."""
    bounds = [*(str(bound) for bound in histogram.bounds), _ABOVE]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))


def render(guard: Readable, accept: str = "", *, partitions: bool = False) -> tuple[str, bytes]:
    """Return the content type and the body of a `/metrics` page: the series of this guard, and nothing else of the process.

    `accept` is the request's header of that name: a scraper that asks for OpenMetrics gets it. For a page with everything that the process
    has registered, register a `GuardCollector` and use `prometheus_client`'s own application.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GuardCollector(guard, partitions=partitions))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)
