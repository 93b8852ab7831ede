"""The circuit alone, in a loop of one's own: no event loop, no thread, no clock but the one you give it."""

import time

from holdgate.core import Circuit, CircuitSettings, Outcome, RampSettings, Rejected

answers = iter([False] * 4)


def send(mail: str) -> None:
    """What stands for a mail relay that is down at first: for three calls, and for the first probe."""
    if not next(answers, True):
        raise ConnectionError(mail)


# region loop
def work_off(mails: list[str], circuit: Circuit) -> None:
    waiting = mails.copy()
    while waiting:
        permit = circuit.try_acquire(time.monotonic())
        if isinstance(permit, Rejected):
            wait = 1.0 if permit.retry_at is None else permit.retry_at - time.monotonic()
            time.sleep(max(0.0, wait))
            continue
        try:
            send(waiting[0])
        except ConnectionError:
            circuit.record(permit, Outcome.FAILURE, time.monotonic())
        else:
            circuit.record(permit, Outcome.SUCCESS, time.monotonic())
            print("sent", waiting.pop(0))
        for event in circuit.take_events():
            print(" ", type(event).__name__)


# endregion
# One call at a time is this loop's full rate, so the ramp ends there.
settings = CircuitSettings(consecutive_failures=3, open_duration=0.2, ramp=RampSettings(full=1))
work_off([f"mail {number}" for number in range(1, 6)], Circuit("mail", settings, now=time.monotonic()))
