"""A Celery app whose worker has a guard of one's own, with a control plane."""

from celery import Celery

from holdgate import Dependency, Guard
from holdgate.control import Control
from holdgate.integrations.celery import CeleryGuard

app = Celery("shop", broker="amqp://guest:guest@localhost/", set_as_current=False)
payments = Dependency("payments")

# region guard
guarded = CeleryGuard(app, needs={"shop.charge": [payments]}, guard=Guard(signals=False, control=Control(port=9099)))
# endregion


def test_the_guard_is_there_before_a_worker_begins() -> None:
    """An app that only sends tasks has entered no guard, and listens nowhere."""
    assert guarded.guard.loop is None
    assert guarded.station is None
