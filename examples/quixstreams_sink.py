"""A Quix Streams app whose sink charges each order, and lets the app pause while the payment service is down.

    pip install '.' quixstreams
    python examples/quixstreams_sink.py

KAFKA, TOPIC and PAYMENTS_HOST say where things are. Ctrl-C or SIGTERM ends it.
"""

# region app
import os
import time
from urllib.request import urlopen

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBackpressureError, SinkBatch

from holdgate import CallNotPermitted, Dependency, http

PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")
TRY_AGAIN = 1.0

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def charge(order: bytes) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order, timeout=5).close()


class Charges(BatchingSink):
    """Charges each order of a checkpoint."""

    def write(self, batch: SinkBatch) -> None:
        for order in batch:
            try:
                payments.call_sync(charge, order.value)
            except CallNotPermitted as refused:  # the circuit is open: the app pauses until it admits a probe
                wait = TRY_AGAIN if refused.retry_at is None else refused.retry_at - time.monotonic()
                raise SinkBackpressureError(max(0.1, wait)) from refused
            except Exception as error:
                if not http.failures(error):
                    raise  # the order's own failure: the app stops at it
                raise SinkBackpressureError(TRY_AGAIN) from error


def main() -> None:
    app = Application(
        broker_address=os.environ.get("KAFKA", "localhost:9092"), consumer_group="charges", auto_offset_reset="earliest", commit_every=10
    )
    orders = app.topic(os.environ.get("TOPIC", "orders"), key_deserializer="bytes", value_deserializer="bytes")
    app.dataframe(orders).sink(Charges())
    app.run()


if __name__ == "__main__":
    main()
# endregion
