"""OpenTelemetry: the series of a guard as observable instruments, the same as for Prometheus. For spans see spans.py.

    from holdgate.telemetry.otel import GuardInstruments

    async with Guard(...) as guard:
        GuardInstruments(guard)

It needs `opentelemetry-api` alone. Where the numbers go is the business of the SDK that the program has set up; without one nothing is ever
asked. A reader collects in a thread of its own, which is fine: reading.py says how.

What is ugly: OpenTelemetry has no histogram that can be observed, only one that is told each value, which costs ten times what the guard
spends on a message. So a histogram is three counters here, as in Prometheus' own text: `.bucket` with the upper bound in `le`, `.count` and
`.sum`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from holdgate.core.totals import Histogram
from holdgate.errors import MissingExtra
from holdgate.telemetry import names
from holdgate.telemetry.names import Series
from holdgate.telemetry.reading import Labels, Readable, Readings

try:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter_provider
except ImportError as error:
    raise MissingExtra("opentelemetry-api is not installed: pip install 'holdgate[otel]'") from error

# A collection asks for one instrument after the other; all of them get the same moment. A second collection within so many seconds
# would see the first one's figures.
_ONE_COLLECTION = 0.5

Found = Iterator[Observation]


class GuardInstruments:
    """Registers the instruments of one guard. They are there for as long as the meter provider is.

    - `meter_provider`: None means the program's own, as set with `opentelemetry.metrics.set_meter_provider`.
    - `partitions`: whether `holdgate.hold.age` is given for each partition instead of each topic.
    - `attributes`: names and values that all observations get, as in {"worker": "orders"}. None means no more.
    """

    def __init__(
        self,
        guard: Readable,
        *,
        meter_provider: MeterProvider | None = None,
        partitions: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._readings = Readings(guard, partitions=partitions, at_most_every=_ONE_COLLECTION)
        self._attributes = dict(attributes or {})
        provider = get_meter_provider() if meter_provider is None else meter_provider
        meter = provider.get_meter("holdgate")
        for series in names.ALL:
            self._create(meter, names.HOLD_AGE_BY_PARTITION if partitions and series is names.HOLD_AGE else series)

    def _create(self, meter: Meter, series: Series) -> None:
        if series.kind == "gauge":
            meter.create_observable_gauge(series.name, [self._callback(series, _number)], series.unit, series.help)
        elif series.kind == "counter":
            meter.create_observable_counter(series.name, [self._callback(series, _number)], series.unit, series.help)
        else:
            counts = "{" + series.name.split(".")[1] + "}"
            for part, unit, pick in (("bucket", counts, _buckets), ("count", counts, _count), ("sum", series.unit, _sum)):
                meter.create_observable_counter(f"{series.name}.{part}", [self._callback(series, pick)], unit, series.help)

    def _callback(self, series: Series, pick: Callable[[float | Histogram], Iterable[Part]]) -> Callable[[CallbackOptions], Found]:
        def observe(_options: CallbackOptions) -> Found:
            samples: Mapping[Labels, float | Histogram] = self._readings.read().get(series, {})
            for values, sample in samples.items():
                attributes = {**dict(zip(series.labels, values, strict=True)), **self._attributes}
                for value, more in pick(sample):
                    yield Observation(value, {**attributes, **more})

        return observe


Part = tuple[float, Mapping[str, str]]


def _number(sample: float | Histogram) -> Iterable[Part]:
    if not isinstance(sample, Histogram):
        yield sample, {}


def _buckets(sample: float | Histogram) -> Iterable[Part]:
    if isinstance(sample, Histogram):
        bounds = [*map(str, sample.bounds), "+Inf"]
        yield from ((count, {"le": bound}) for bound, count in zip(bounds, accumulate(sample.counts), strict=True))


def _count(sample: float | Histogram) -> Iterable[Part]:
    if isinstance(sample, Histogram):
        yield sample.count, {}


def _sum(sample: float | Histogram) -> Iterable[Part]:
    if isinstance(sample, Histogram):
        yield sample.sum, {}
