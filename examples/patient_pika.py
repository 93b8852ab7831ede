"""A pika consumer that charges each order in a thread, and waits with it while the payment service is down.

    pip install '.' pika
    python examples/patient_pika.py

RABBITMQ, QUEUE and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM ends it; orders that wait go back.
"""

# region worker
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.request import urlopen

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic

from holdgate import Dependency, Guard, http
from holdgate.errors import GuardClosed, WaitedTooLong

QUEUE = os.environ.get("QUEUE", "orders")
PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")
THREADS = 8

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guard = Guard()


@guard.patient(needs=[payments], wait_at_most=20 * 60)
def charge(order: bytes) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order, timeout=5).close()


def work(connection: pika.BlockingConnection, channel: BlockingChannel, tag: int, order: bytes) -> None:
    try:
        charge(order)
        settle = partial(channel.basic_ack, tag)
    except WaitedTooLong:
        settle = partial(channel.basic_nack, tag, requeue=True)
    except GuardClosed:
        return  # the program ends, and the broker gets back what is not settled
    except Exception:  # noqa: BLE001 - the order's own failure
        settle = partial(channel.basic_reject, tag, requeue=False)
    connection.add_callback_threadsafe(settle)


def main() -> None:
    connection = pika.BlockingConnection(pika.URLParameters(os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=THREADS)
    signal.signal(signal.SIGTERM, lambda *_: connection.add_callback_threadsafe(channel.stop_consuming))
    with ThreadPoolExecutor(THREADS) as threads:

        def consume(channel: BlockingChannel, method: Basic.Deliver, properties: object, order: bytes) -> None:
            threads.submit(work, connection, channel, method.delivery_tag, order)

        channel.basic_consume(QUEUE, consume)
        try:
            channel.start_consuming()
        except KeyboardInterrupt:
            channel.stop_consuming()
        guard.close()  # what runs may end, and what waits is let go
    connection.process_data_events()  # the last acks go out
    connection.close()


if __name__ == "__main__":
    main()
# endregion
