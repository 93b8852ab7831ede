from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from holdgate import Dependency, Fleet, Guard, LogSettings
from holdgate.brokers.confluent import ConfluentIntake
from holdgate.brokers.kafka import KafkaFleetLog
from holdgate.brokers.rabbitmq import RabbitMQFleetLog
from holdgate.brokers.redis import RedisFleetLog
from holdgate.brokers.share import ShareIntake
from holdgate.config.fleet_table import FleetTable, KafkaLogTable, RabbitMQLogTable, RedisLogTable
from holdgate.config.intakes import ConfluentTable, ShareTable
from holdgate.config.tables import ControlTable, DependencyTable, GuardTable, LogTable, RunTable
from holdgate.control import Control


@pytest.mark.parametrize(
    ("table", "takes", "apart"),
    [
        (GuardTable, Guard.__init__, {"log"}),
        (LogTable, LogSettings, set()),
        (ControlTable, Control.__init__, set()),
        (FleetTable, Fleet.__init__, {"kafka", "rabbitmq", "redis"}),
        (KafkaLogTable, KafkaFleetLog.__init__, {field.name for field in dataclasses.fields(KafkaLogTable)} - {"topic"}),
        (RabbitMQLogTable, RabbitMQFleetLog.__init__, {"url"}),
        (RedisLogTable, RedisFleetLog.__init__, {"url"}),
        (RunTable, Guard.run, {"needs", "retry"}),
        (DependencyTable, Dependency.__init__, {"name", "failures", "circuit"}),
        (ConfluentTable, ConfluentIntake.__init__, {"client", "name", "settings"}),
        (ShareTable, ShareIntake.__init__, {"client", "name", "settings", "topics"}),
    ],
)
def test_the_defaults_of_a_table_are_those_of_what_takes_it(table: type[Any], takes: Callable[..., Any], apart: set[str]) -> None:
    """What `config show --effective` shows as a default is what a worker without a file has."""
    theirs = inspect.signature(takes).parameters
    for field in dataclasses.fields(table):
        if field.name not in apart:
            assert field.default == theirs[field.name].default, field.name
