"""A loop that pauses by hand when payments are down. It keeps its place, until a rebalance forgets the pause."""

import asyncio
import os
from urllib.request import urlopen

# region loop
from aiokafka import AIOKafkaConsumer

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")
PAUSE = float(os.environ.get("PAUSE", "30"))


async def charge(body: bytes | None) -> None:
    await asyncio.to_thread(urlopen, f"http://{PAYMENTS_HOST}/charges", body, 5)


async def main() -> None:
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=KAFKA, group_id="charger", enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    loop = asyncio.get_running_loop()
    resume_at = 0.0
    try:
        while True:
            if loop.time() >= resume_at:
                consumer.resume(*consumer.paused())
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    try:
                        await charge(record.value)
                    except OSError:
                        consumer.pause(*consumer.assignment())
                        consumer.seek(tp, record.offset)
                        resume_at = loop.time() + PAUSE
                        break
                    await consumer.commit({tp: record.offset + 1})
    finally:
        await consumer.stop()


# endregion
asyncio.run(main())
