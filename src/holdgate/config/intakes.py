"""`[intakes.NAME]`: an intake that a file can describe, because it is made of texts and numbers alone.

Those are the intakes on confluent-kafka, which take librdkafka's settings. `client` says which: `"confluent"` for the partitions of topics,
`"share"` for a share group. KafkaIntake takes a consumer of aiokafka, and RabbitMQIntake a connection; a program makes these.

librdkafka's names have dots. In TOML a name with dots is tables within tables, unless it stands in quotes. Both mean the same here, so
`bootstrap.servers = "kafka:9092"` is right as it stands. A variable of the environment has no dots, and so an underscore is one there.

Passwords belong into the environment. Whatever looks like one is masked where settings are shown, and no error quotes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from holdgate.config.toml_file import Place, Traced
from holdgate.core import validation

Table = dict[str, object]

# What librdkafka takes: it reads texts, and the others as their texts.
RdkafkaSettings: TypeAlias = Mapping[str, str | bool | int | float]

_OF_CLIENT = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfluentTable:
    """`[intakes.NAME]` with `client = "confluent"`: arguments of ConfluentIntake, with its defaults. `settings` are librdkafka's."""

    client: Literal["confluent"]
    name: str
    settings: RdkafkaSettings
    topics: tuple[str, ...] | None = None
    pattern: str | None = None
    inbox: int = 500
    commit_every: float = 1.0
    allow_latest: bool = False
    poll_timeout: float = 0.1

    def __post_init__(self) -> None:
        validation.count("inbox", self.inbox)
        validation.seconds("commit_every", self.commit_every)
        validation.seconds("poll_timeout", self.poll_timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareTable:
    """`[intakes.NAME]` with `client = "share"`: arguments of ShareIntake, with its defaults. `settings` are librdkafka's."""

    client: Literal["share"]
    name: str
    settings: RdkafkaSettings
    topics: tuple[str, ...]
    in_hand: int = 20
    poll_timeout: float = 0.1
    record_lock: float | None = None
    delivery_limit: int | None = None

    def __post_init__(self) -> None:
        validation.count("in_hand", self.in_hand)
        validation.seconds("poll_timeout", self.poll_timeout)


IntakeTable: TypeAlias = ConfluentTable | ShareTable


def new_intake(table: IntakeTable, given: Mapping[str, object], in_code: Mapping[str, Any]) -> Any:
    """Return a new intake, of what is `given` in its table and of `in_code`, which wins. `settings` of both are laid over each other.

    Raises SettingsError, and MissingExtra without the extra `confluent`.
    """
    arguments = {name: getattr(table, name) for name in given if name not in {"client", _OF_CLIENT}} | dict(in_code)
    settings = {**table.settings, **arguments.pop(_OF_CLIENT, {})}
    if isinstance(table, ShareTable):
        from holdgate.brokers.share import ShareIntake  # noqa: PLC0415 - brings in a client, for who asks for it

        return ShareIntake(settings, *arguments.pop("topics", ()), **arguments)
    from holdgate.brokers.confluent import ConfluentIntake  # noqa: PLC0415 - the same

    return ConfluentIntake(settings, **arguments)


def with_dots(traced: Traced) -> Traced:
    """Return the tables with each intake's `settings` by their names with dots. What is no table stays, and is refused where it is read."""
    intakes = traced.data.get("intakes")
    if not isinstance(intakes, dict):
        return traced
    moved, made = dict(traced.moved), dict(cast("Table", intakes))
    for name, table in cast("Table", intakes).items():
        own = cast("Table", table).get(_OF_CLIENT) if isinstance(table, dict) else None
        if isinstance(own, dict):
            place: Place = ("intakes", name, _OF_CLIENT)
            flat: Table = {}
            # Last what others say: it wins over the file, where that writes the same name in another way.
            for steps, value in sorted(_leaves(cast("Table", own)), key=lambda leaf: (*place, *leaf[0]) in traced.outside):
                there = (*place, *steps)
                key = ".".join(steps).replace("_", ".") if there in traced.outside else ".".join(steps)
                flat[key] = value
                moved[*place, key] = there
            made[name] = {**cast("Table", table), _OF_CLIENT: flat}
    return Traced({**traced.data, "intakes": made}, moved, traced.outside)


def _leaves(table: Table) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from (((key, *steps), leaf) for steps, leaf in _leaves(cast("Table", value)))
        else:
            yield (key,), value
