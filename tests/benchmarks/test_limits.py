from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from benchmarks.limits_service import SERVICES

from benchmarks import limits, limits_real
from holdgate_lab.worlds.answers import CountingClient, StatusError
from holdgate_lab.worlds.catalogue import WORLDS, quota, rate, slow_servers, strangers
from holdgate_lab.worlds.figures import WorldFigures
from holdgate_lab.worlds.hard import HARD_WORLDS
from holdgate_lab.worlds.more import MORE_WORLDS
from holdgate_lab.worlds.odd import ODD_WORLDS
from holdgate_lab.worlds.playing import Scene, play

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq_address import RabbitMQAddress

RUN = WorldFigures(
    good=990, wasted=5, goodput=0.99, waste=0.005, in_flight=30, fairness=0.98, calls_a_minute=0.9, back_after=12.0, was_troubled=True
)


def test_a_cell_has_the_worst_of_its_seeds() -> None:
    """Each figure from whichever seed has it."""
    runs = [RUN, replace(RUN, goodput=0.97), replace(RUN, waste=0.01, in_flight=31)]
    assert limits.cell(slow_servers(), runs) == "0.97 / 1.0% / 31 in flight"


def test_a_cell_has_what_its_world_is_about() -> None:
    """Fairness where workers share, the way back where there was trouble."""
    assert limits.cell(rate(), [RUN]) == "0.99 / 0.5%"
    assert limits.cell(strangers(), [RUN]) == "0.99 / 0.5% / Jain 0.98"
    assert limits.cell(quota(), [RUN]) == "0.99 / 0.5% / 0.9 a minute / back after 12 s"
    assert limits.cell(quota(), [RUN, replace(RUN, back_after=None)]) == "0.99 / 0.5% / 0.9 a minute / never back"


def test_a_promise_looks_like_its_cell() -> None:
    """So that two columns can be compared by eye."""
    assert limits.promised(slow_servers().promise) == "≥ 0.98 / ≤ 0.0% / ≤ 30"


def test_every_world_is_in_the_table() -> None:
    """In the order of the catalogue; and those alone that are asked for."""
    assert [world.name for world in limits.chosen(())] == [*WORLDS, *MORE_WORLDS, *HARD_WORLDS, *ODD_WORLDS]
    assert [world.name for world in limits.chosen(["cap", "bursts"])] == ["cap", "bursts"]


def test_a_kept_run_is_not_made_again(tmp_path: Path) -> None:
    """A table of an hour that was broken off goes on where it was."""
    file, world = tmp_path / "runs", rate(20.0)
    made = limits.KeptRuns(file).run(world, 1)
    again = limits.KeptRuns(file)
    assert again.run(replace(world, seconds=-1.0), 1) == made
    assert len(file.read_text().splitlines()) == 1
    assert again.run(world, 2) != made
    assert len(file.read_text().splitlines()) == 2


def test_only_what_is_kept_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that is not whole says how many seeds each row has, and which worlds are missing; no run is made for it."""
    line = {"world": "rate", "seed": 2, **asdict(RUN)}
    file = tmp_path / "runs"
    file.write_text(json.dumps(line) + "\n")
    limits.table(["rate", "cap"], 5, limits.KeptRuns(file), only_kept=True)
    printed = capsys.readouterr().out
    assert "| a | rate | 0.99 / 0.5% | ≥ 0.98 / ≤ 1.0% | 1 of 1 |" in printed
    assert "Not run: cap." in printed
    assert len(file.read_text().splitlines()) == 1


def test_the_table_is_put_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command that makes it, so that nobody copies figures by hand."""
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(limits, "put", lambda name, printed, _date: written.append((name, printed)))
    monkeypatch.setattr("sys.argv", ["limits", "--worlds", "cap", "--keep", str(tmp_path / "none"), "--only-kept", "--write"])
    limits.main()
    assert written[0][0] == "limits"
    assert written[0][1].startswith("| world |")
    assert "Not run: cap." in written[0][1]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_the_same_in_simulated_time(name: str) -> None:
    """Six callers without a limiter get most of what each lets through, and none more than its best."""

    async def six(scene: Scene, client: CountingClient, chance: Random) -> None:
        async def caller() -> None:
            while True:
                with suppress(StatusError):
                    await client.post()

        await asyncio.gather(*(caller() for _ in range(6)))

    assert 0.7 < play(SERVICES[name], 1, six, seconds=20.0).goodput <= 1.05


async def test_a_guard_works_behind_a_real_service_on_kafka(kafka: KafkaAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first twenty of thirty calls are the bucket's burst, and good whatever the machine is busy with."""
    monkeypatch.setenv("HOLDGATE_TEST_KAFKA", kafka.bootstrap)  # or the benchmark starts one more
    await _for_thirty_calls("kafka")


async def test_a_guard_works_behind_a_real_service_on_rabbitmq(rabbitmq: RabbitMQAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same from a queue."""
    monkeypatch.setenv("HOLDGATE_TEST_RABBITMQ", rabbitmq.url)
    await _for_thirty_calls("rabbitmq")


async def _for_thirty_calls(broker: str) -> None:
    seen = await limits_real.real("bucket", broker, 30)
    assert seen.statuses[200] >= 20
    assert set(seen.statuses) <= {200, 429}
    assert seen.waste == pytest.approx(seen.statuses[429] / seen.statuses.total())
