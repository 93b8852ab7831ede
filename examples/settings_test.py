"""A guard whose settings are in a file, which is read again while it runs. `pytest examples/settings_test.py` runs it without a broker."""

from pathlib import Path

# region worker
import holdgate
from holdgate import Delivery, Guard
from holdgate.ports import Intake

FILE = Path(__file__).with_name("holdgate.toml")


async def handle(delivery: Delivery) -> None: ...


async def work(intake: Intake) -> None:
    settings = holdgate.load(FILE)
    async with Guard(**settings.guard_arguments()) as guard, settings.watch(guard):
        await guard.run(intake, handle, **settings.run_arguments("orders"))


# endregion


# region intake
async def work_as_the_file_says() -> None:
    settings = holdgate.load(FILE.with_name("confluent.toml"))
    async with Guard(**settings.guard_arguments()) as guard:
        await guard.run(settings.intake("orders"), handle, **settings.run_arguments("orders"))


# endregion


def test_the_intakes_are_what_the_file_says() -> None:
    """Without a broker: nothing is asked before an intake opens."""
    settings = holdgate.load(FILE.with_name("confluent.toml"), environment={})
    assert {name: settings.intake(name).names for name in ("orders", "pictures")} == {"orders": ("orders",), "pictures": ("pictures",)}


async def test_the_worker_has_what_the_file_says() -> None:
    """Without a broker: what `Guard` and `guard.run` are given."""
    settings = holdgate.load(FILE, environment={})
    assert settings.dependency("payments").settings.failure_rate_threshold == 0.4
    orders = settings.run_arguments("orders")
    assert ([each.name for each in orders["needs"]], orders["retry"].attempts) == (["payments", "ledger"], 7)
    async with Guard(**settings.guard_arguments()) as guard, settings.watch(guard):
        assert guard.health().live


def test_the_fleet_is_in_the_file_and_its_password_is_not() -> None:
    """What `Guard` is given has a log that is not opened yet."""
    password = {"HOLDGATE__FLEET__KAFKA__SASL_PLAIN_PASSWORD": "from a secret of the deployment"}
    fleet = holdgate.load(FILE.with_name("fleet.toml"), environment=password).guard_arguments()["fleet"]
    assert fleet.log.place == "topic 'holdgate-fleet' at kafka-1:9093,kafka-2:9093"
    assert fleet.settings.open_duration_max == 20.0
