from __future__ import annotations

import asyncio
import base64
import traceback
from typing import TYPE_CHECKING

import pytest
from tests.brokers.kafka.drive import PATIENCE, drive
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq.queue_facts import Management
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq import RabbitMQServer

    from holdgate.brokers.rabbitmq import RabbitMQIntake


async def test_policies_are_read(own_rabbitmq: RabbitMQServer, intake: Callable[..., RabbitMQIntake], caplog) -> None:
    """A limit that only a policy sets is known, and its dead letter exchange; no AMQP call tells of either."""
    name = await own_rabbitmq.declare("under-a-policy", QUORUM)
    await own_rabbitmq.ctl(
        "set_policy", "limits", "^under-a-policy$", '{"delivery-limit": 3, "dead-letter-exchange": "dlx"}', "--apply-to", "queues"
    )
    assert own_rabbitmq.management_url is not None
    management = Management(own_rabbitmq.management_url)
    try:
        async with asyncio.timeout(PATIENCE):
            while not (policy := await management.policy("/", name)):  # it counts a moment later
                await asyncio.sleep(0.1)
        made = intake(name, url=own_rabbitmq.url, management_url=own_rabbitmq.management_url)
        async with drive(made):
            assert made._supervisors[next(iter(made._supervisors))]._terms.limit == 3
    finally:
        await own_rabbitmq.ctl("clear_policy", "limits")
        await own_rabbitmq.delete(name)
    assert policy == {"delivery-limit": 3, "dead-letter-exchange": "dlx"}
    assert "has no dead letter exchange" not in caplog.text


async def test_an_api_that_does_not_answer_is_told_and_no_error(caplog) -> None:
    """Policies are then unknown, as without the setting, and no consumers known; the password is not in the log."""
    port = reserve_port()
    silent = Management(f"http://guest:secret@127.0.0.1:{port}")
    assert await silent.policy("/", "orders") is None
    assert await silent.consumers("/", "orders") == []
    assert "so the policies of queue orders are unknown" in caplog.text
    assert "secret" not in caplog.text
    release_port(port)


def test_credentials_are_decoded_and_an_address_of_ipv6_keeps_its_brackets() -> None:
    """A password with an @ in it must be percent-encoded in a URL, and the API wants the password."""
    management = Management("https://some%40body:p%40ss%2Fword@[::1]:15671/rabbit/")

    assert management._base == "https://[::1]:15671/rabbit"
    assert management._headers["Authorization"] == "Basic " + base64.b64encode(b"some@body:p@ss/word").decode()


@pytest.mark.parametrize("url", ["http://user:secret@[::1/", "http://user:secret@host:secret", "host:15672", "amqp://user:secret@host"])
def test_another_kind_of_url_is_refused_without_quoting_it(url: str) -> None:
    """Neither the error nor what it was raised from has the password."""
    with pytest.raises(SettingsError, match="management_url must be like http://") as caught:
        Management(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace(url, "")
