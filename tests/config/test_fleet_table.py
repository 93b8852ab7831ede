from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.config.test_settings import complaint, loaded, written

from holdgate import Dependency, Fleet, Guard
from holdgate.errors import SettingsError
from holdgate.events import FleetLogFellSilent
from holdgate.fleet.settings import FleetSettings
from holdgate.testing import LoopClock, in_virtual_time
from holdgate.testing.memory import LogTrouble, MemoryFleetLog, MemoryLogServer

REDIS = """
    [fleet]
    name = "chargers"
    required = true
    quorum = 3
    open_share = "20%"
    open_duration_max = "1m"
    silence = "8s"

    [fleet.redis]
    url = "redis://localhost/3"
"""


def fleet_of(tmp_path: Path, text: str, **environment: str) -> Fleet:
    fleet: Fleet = loaded(tmp_path, text, **environment).guard_arguments()["fleet"]
    return fleet


def test_a_fleet_is_what_the_file_says(tmp_path: Path) -> None:
    """Its settings and its log, ready to be given to a guard; each guard gets a log of its own."""
    settings = loaded(tmp_path, REDIS)
    fleet, other = (settings.guard_arguments()["fleet"] for _ in range(2))
    assert (fleet.required, fleet.log.place) == (True, "key 'holdgate-fleet' at localhost:6379/3")
    assert fleet.settings == FleetSettings(name="chargers", quorum=3, open_share=0.2, open_duration_max=60.0, silence=8.0)
    assert fleet.log is not other.log


def test_without_the_table_there_is_no_fleet(tmp_path: Path) -> None:
    """A guard then decides alone."""
    assert "fleet" not in loaded(tmp_path, "[guard]").guard_arguments()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[fleet.kafka]\nbootstrap_servers = 'a:9092,b:9092'\ntopic = 'agree'", "topic 'agree' at a:9092,b:9092"),
        ("[fleet.rabbitmq]\nurl = 'amqp://rabbit/shop'\nstream = 'agree'", "stream 'agree' at rabbit:5672/shop"),
        ("[fleet.redis]\nurl = 'valkey://store'\nkey = 'agree'", "key 'agree' at store:6379/0"),
    ],
)
def test_each_log_has_a_table_of_its_own(tmp_path: Path, text: str, place: str) -> None:
    """Named by its server, with the name of the log as its class calls it."""
    assert fleet_of(tmp_path, text).log.place == place


def test_a_kafka_log_has_tls_and_a_user(tmp_path: Path) -> None:
    """The password from the environment, and the certificates of the system unless there is a file of them."""
    text = "[fleet.kafka]\nbootstrap_servers = 'a:9093'\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'SCRAM-SHA-512'"
    said = {"HOLDGATE__FLEET__KAFKA__SASL_PLAIN_USERNAME": "charger", "HOLDGATE__FLEET__KAFKA__SASL_PLAIN_PASSWORD": "hunter2"}
    log: Any = fleet_of(tmp_path, text, **said).log
    names = ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    assert [log._settings[name] for name in names] == ["SASL_SSL", "SCRAM-SHA-512", "charger", "hunter2"]
    assert log._settings["ssl_context"].check_hostname


KAFKA = "[fleet.kafka]\nbootstrap_servers = 'a:9093'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fleet]", "holdgate.toml:1: fleet: a fleet needs a log: write [fleet.kafka], [fleet.rabbitmq] or [fleet.redis]"),
        ("[fleet]\nlog = 'redis'", "holdgate.toml:2: fleet.log: is none of those that are known here"),
        ("[fleet]\nquorum = 1", "holdgate.toml:2: fleet.quorum: fleet.quorum must be at least 2, got 1"),
        ("[fleet]\nopen_share = 20", "holdgate.toml:2: fleet.open_share: fleet.open_share must be a ratio in (0, 1]"),
        ("[fleet]\nsilence = '6 seconds'", 'holdgate.toml:2: fleet.silence: "6 seconds" is not seconds'),
        ("[fleet.redis]\nurl = 'redis://a'\n[fleet.rabbitmq]\nurl = 'amqp://a'", "got [fleet.rabbitmq] and [fleet.redis]"),
        ("[fleet.redis]", "holdgate.toml:1: fleet.redis: url is missing"),
        ("[fleet.redis]\nurl = 'http://:hunter2@a'", "holdgate.toml:2: fleet.redis.url: the URL must be redis://"),
        ("[fleet.redis]\nurl = ['hunter2']", "holdgate.toml:2: fleet.redis.url: ******** is not a text in quotes"),
        ("[fleet.redis]\nurl = 'redis://a'\nkey = ''", "holdgate.toml:3: fleet.redis.key: the key must not be empty"),
        ("[fleet.rabbitmq]\nurl = 'http://u:hunter2@a'", "holdgate.toml:2: fleet.rabbitmq.url: the URL must begin with amqp://"),
        ("[fleet.rabbitmq]\nurl = 'amqp://a'\nstream = ''", "holdgate.toml:3: fleet.rabbitmq.stream: the name of the stream"),
        ("[fleet.kafka]\nbootstrap_servers = 'kafka://a:1/t'", "holdgate.toml:2: fleet.kafka.bootstrap_servers: "),
        (f"{KAFKA}topic = ''", "holdgate.toml:3: fleet.kafka.topic: topic must be the name of a topic"),
        (f"{KAFKA}cafile = '/ca.pem'", "holdgate.toml:3: fleet.kafka.cafile: cafile must be left out with security_protocol='PLAINTEXT'"),
        (f"{KAFKA}sasl_plain_password = 'hunter2'", "holdgate.toml:3: fleet.kafka.sasl_plain_password: "),
        (f"{KAFKA}security_protocol = 'SASL_SSL'", "holdgate.toml:3: fleet.kafka.security_protocol: "),
        (f"{KAFKA}security_protocol = 'SSL'\nkeyfile = '/k'", "holdgate.toml:4: fleet.kafka.keyfile: keyfile must be given together"),
        (f"{KAFKA}security_protocol = 'SSL'\ncafile = '/no'", "holdgate.toml:4: fleet.kafka.cafile: cafile must be a file of PEM"),
        (f"{KAFKA}security_protocol = 'SSL'\ncertfile = '/no'", "holdgate.toml:4: fleet.kafka.certfile: certfile must be a file of PEM"),
    ],
)
def test_each_mistake_is_told_with_its_line_and_the_remedy(tmp_path: Path, text: str, words: str) -> None:
    """What the log's own class finds, too. A password is in no text."""
    found = complaint(tmp_path, text)
    assert words in found
    assert "hunter2" not in found


def test_a_variable_that_is_wrong_is_named(tmp_path: Path) -> None:
    """A fleet may come from the environment alone; what is wrong there is not quoted."""
    found = complaint(tmp_path, "", HOLDGATE__FLEET__RABBITMQ__URL="amqps//u:hunter2@a")
    assert found.startswith("environment HOLDGATE__FLEET__RABBITMQ__URL: fleet.rabbitmq.url: ")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost/0", '"redis://localhost/0"'),
        ("redis://:hunter2@localhost/0", '"********"'),
        ("redis://localhost/0?password=hunter2", '"********"'),
    ],
)
def test_a_url_is_shown_where_no_password_can_be_in_it(tmp_path: Path, url: str, shown: str) -> None:
    """In the settings, and in what changed."""
    settings = loaded(tmp_path, f"[fleet.redis]\nurl = '{url}'")
    seen = {each.setting: each.shown for each in settings.effective()}
    assert seen["fleet.redis.url"] == shown
    written(tmp_path, f"[fleet.redis]\nurl = '{url}'\nkey = 'other'")
    assert "hunter2" not in f"{settings.effective()} {settings.reload()}"


def test_only_the_times_of_a_fleet_change_while_it_runs(tmp_path: Path) -> None:
    """Another name, another log, and a fleet that is new wait for a restart."""
    settings = loaded(tmp_path, REDIS)
    changed = {"chargers": "others", "true": "false", "= 3": "= 2", "20%": "30%", "1m": "2m", "8s": "9s", "/3": "/4"}
    text = REDIS
    for before, after in changed.items():
        text = text.replace(before, after)
    written(tmp_path, text)
    found = settings.reload()
    assert {each.setting for each in found.applied} == {
        f"fleet.{name}" for name in ("quorum", "open_share", "open_duration_max", "silence")
    }
    assert {each.setting for each in found.waiting} == {"fleet.name", "fleet.required", "fleet.redis.url"}
    written(tmp_path, "[guard]")
    found = settings.reload()
    assert (found.applied, {each.place[0] for each in found.waiting}) == ((), {"fleet"})


@pytest.mark.parametrize("its_own", [True, False], ids=["from the file", "from the program"])
@in_virtual_time
async def test_a_running_worker_takes_up_the_times(tmp_path: Path, its_own: bool) -> None:
    """Of its fleet that the file has made. One that the program has made is the program's."""
    settings = loaded(tmp_path, REDIS)
    fleet = settings.guard_arguments()["fleet"]
    server = MemoryLogServer()
    fleet.log = MemoryFleetLog(server)
    given = fleet if its_own else Fleet(fleet.log, silence=8.0)
    events: list[Any] = []
    async with Guard(Dependency("payments"), signals=False, fleet=given, clock=LoopClock(), observers=[events.append]) as guard:
        await asyncio.sleep(5.0)
        written(tmp_path, REDIS.replace("8s", "10m"))
        assert [each.setting for each in settings.reload(guard).applied] == ["fleet.silence"]
        server.trouble = LogTrouble(hung=True)
        await asyncio.sleep(60.0)
        assert bool([each for each in events if isinstance(each, FleetLogFellSilent)]) is not its_own


def test_a_fleet_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    """What is right in the file neither."""
    settings = loaded(tmp_path, REDIS)
    written(tmp_path, REDIS.replace("1m", "2m").replace("= 3", "= 1"))
    with pytest.raises(SettingsError, match=r"fleet\.quorum must be at least 2"):
        settings.reload()
    assert settings.guard_arguments()["fleet"].settings.open_duration_max == 60.0
