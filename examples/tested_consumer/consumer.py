"""A consumer as it is in production: it charges orders by an API that can be down."""

import asyncio

import httpx
from aiokafka import AIOKafkaConsumer

from holdgate import Delivery, Dependency, Guard, http
from holdgate.brokers.kafka import KafkaIntake

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
client = httpx.AsyncClient(base_url="https://bank.example", timeout=5)


async def charge(delivery: Delivery) -> None:
    response = await client.post("/charges", content=delivery.body)
    response.raise_for_status()


async def main() -> None:
    consumer = AIOKafkaConsumer("orders", bootstrap_servers="localhost:9092", group_id="charging", enable_auto_commit=False)
    async with Guard() as guard:
        await guard.run(KafkaIntake(consumer), charge, needs=[payments])


if __name__ == "__main__":
    asyncio.run(main())
