"""The smallest whole worker."""

# region worker
import asyncio
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaIntake

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(delivery: Delivery) -> None:
    urlopen("http://payments:8080/charges", delivery.body, timeout=5).close()


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers="kafka:9092", group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    async with Guard() as guard:
        await guard.run(KafkaIntake(consumer, topics=["orders"]), charge, needs=[payments])


asyncio.run(main())
# endregion
