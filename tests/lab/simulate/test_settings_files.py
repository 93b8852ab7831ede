"""A `[dependencies.NAME]` that is right for a worker is right for a simulation, and the other way round."""

from __future__ import annotations

import pytest
from tests.lab.simulate.examples import file_of

from holdgate.config.reading import read_tables
from holdgate.errors import SettingsError
from holdgate_lab.simulate.reading import scenario_of

SECTIONS = """
[circuit]
healthy_interval = "1m"
[bases.web]
failures = "http"
open_duration = "10s"
[dependencies.payments]
base = "web"
capacity = 18
latency = "400ms"
timeout = 3
probe = true
probe_timeout = 2
ramp = { growth = 3 }
[dependencies.payments.circuit]
failure_rate_threshold = "40%"
"""


def test_both_read_the_same_circuit_from_the_same_sections() -> None:
    """Bases, units, and settings in the section or in its circuit."""
    (simulated,) = scenario_of(file_of("seconds = 10\n" + SECTIONS), "some").dependencies
    (working,) = read_tables(file_of(SECTIONS), {}, {}).tables.dependencies
    assert simulated.circuit == working.circuit
    assert (simulated.circuit.open_duration, simulated.circuit.ramp.growth, simulated.circuit.failure_rate_threshold) == (10.0, 3.0, 0.4)
    assert (simulated.latency, simulated.probe, working.probe_timeout) == (0.4, True, 2.0)


@pytest.mark.parametrize(
    "line",
    ["open_duratn = 3", 'failures = "os.system"', "probe_timeout = 0", 'base = "wb"', 'open_share = "5 minutes"', "open_jitter = 3"],
)
def test_both_refuse_the_same_mistakes(line: str) -> None:
    """With the same words but for the line."""
    text = f"[dependencies.payments]\n{line}\n"
    with pytest.raises(SettingsError) as ours:
        read_tables(file_of("\n" + text), {}, {})
    with pytest.raises(SettingsError) as theirs:
        scenario_of(file_of("seconds = 10\n" + text), "some")
    assert str(ours.value) == str(theirs.value)
