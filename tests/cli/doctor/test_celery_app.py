"""What an outage costs a Celery app, by the configuration of real apps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery")

from celery import Celery

from holdgate import Dependency
from holdgate.cli.commands import Refusal
from holdgate.cli.doctor.celery_app import costs
from holdgate.integrations.celery import CeleryGuard

ROOT = Path(__file__).parents[3]
HOUR = 3600.0


def an_app(broker: str = "amqp://user:secret@localhost//", **conf: Any) -> Celery:
    app = Celery("shop", broker=broker, set_as_current=False)
    app.conf.update(conf)
    return app


def said(app: Celery, about: str, outage: float = HOUR) -> str:
    return "\n".join(each.text for each in costs(app, outage) if each.about == about)


def with_task(app: Celery | None = None, **options: Any) -> str:
    app = app or an_app()

    @app.task(name="charge", shared=False, **options)
    def charge() -> None: ...

    return said(app, "charge")


def test_a_task_without_retries_fails_at_once_and_is_acked() -> None:
    """All of an hour; and what self.retry() would cover: three times three minutes."""
    text = with_task()
    assert "its message is acked as failed: all that comes in the outage is given up, 100 of 100 messages" in text
    assert "4 attempts in 180 + 180 + 180 = 540 s (max_retries=3)" in text
    assert "3060 s of the outage is given up before it ends, 85 of 100 messages" in text
    assert "it is acked before it runs (acks_late=False)" in text


def test_trap_a_message_that_expires_is_not_tried_for_longer() -> None:
    """A retry keeps the time at which it expires. Where the retries are over before, they are what counts."""
    text = with_task(autoretry_for=(ConnectionError,), max_retries=None, expires=60)
    assert "each message expires 60 s after it was sent (expires=60), before its retries are over, and is revoked when it is due" in text
    assert "the first 3600 s - 60 s = 3540 s of the outage is given up" in text
    assert "4 attempts in 180 + 180 + 180 = 540 s" in with_task(autoretry_for=(ConnectionError,), expires=600)


def test_trap_large_sums_have_no_exponent() -> None:
    """It was 3600 s - 1.24e+03 s, and an outage of months was 1e+07 s."""
    assert "3600 s - 1235 s = 2365 s" in with_task(autoretry_for=(OSError,), retry_backoff=5, max_retries=8, acks_late=True)
    app = an_app()
    with_task(app)
    assert not [each.text for each in costs(app, 1e7) if "e+" in each.text]


def test_backoff_is_added_up_to_its_bound() -> None:
    """Factor, doubling and retry_backoff_max as in Celery's own function; jitter only makes it shorter."""
    text = with_task(autoretry_for=(ConnectionError, TimeoutError), retry_backoff=5, retry_backoff_max=60, max_retries=6, acks_late=True)
    assert "by itself after ConnectionError, TimeoutError (retry_jitter draws each wait from 0 to what follows)" in text
    assert "7 attempts in 5 + 10 + 20 + 40 + 60 + 60 = 195 s (max_retries=6)" in text
    assert "acks_late" not in text


def test_without_backoff_the_waits_are_all_the_same() -> None:
    """default_retry_delay, or the countdown of retry_kwargs, whose max_retries wins; long enough they cover the outage."""
    covered = with_task(autoretry_for=(ConnectionError,), default_retry_delay=600, max_retries=10)
    assert "11 attempts in 600 + 600 + 600 + 600 + 600 + 600 + ... = 6000 s" in covered
    assert "the outage of 3600 s is over by then, so none is given up" in covered
    assert "3 attempts in 30 + 30 = 60 s (max_retries=2)" in with_task(
        autoretry_for=(ConnectionError,), retry_kwargs={"max_retries": 2, "countdown": 30}
    )


def test_so_many_retries_that_nobody_counts_them() -> None:
    """The waits are added up and not written down; a doubling has no end of its own."""
    many = with_task(autoretry_for=(ConnectionError,), retry_backoff=1, retry_backoff_max=600, max_retries=1_000_000_000)
    assert "1,000,000,001 attempts in 1 + 2 + 4 + 8 + 16 + 32 + ... = 599999995023 s (max_retries=1000000000)" in many
    some = with_task(autoretry_for=(ConnectionError,), retry_backoff=1, retry_backoff_max=600, max_retries=2000)
    assert f"= {1023 + 1990 * 600} s (max_retries=2000)" in some


def test_what_an_app_leaves_to_the_task() -> None:
    """None in retry_kwargs is the task's own, as in `Task.retry`; no delay at all is none, and fewer retries than none are none."""
    nothing = {"max_retries": None, "countdown": None}
    own = with_task(autoretry_for=(ConnectionError,), retry_kwargs=nothing, default_retry_delay=60)
    assert "4 attempts in 60 + 60 + 60 = 180 s (max_retries=3)" in own
    assert "4 attempts in 0 + 0 + 0 = 0 s" in with_task(autoretry_for=(ConnectionError,), default_retry_delay=None)
    assert "1 attempt in 0 = 0 s (max_retries=0)" in with_task(autoretry_for=(ConnectionError,), max_retries=-1)


def test_no_limit_of_retries_gives_nothing_up() -> None:
    """But each task waits in a worker's memory."""
    text = with_task(autoretry_for=(ConnectionError,), max_retries=None, acks_late=True)
    assert "max_retries=None tries for ever: none is given up" in text
    assert "is acked as failed" not in text


def test_late_acks_that_are_no_acks_reject() -> None:
    """By the task, or by the app's settings."""
    assert "its message is rejected, and goes to the queue's dead letters, or is dropped" in with_task(
        acks_late=True, acks_on_failure=False
    )
    app = an_app(task_acks_late=True, task_acks_on_failure=False)
    assert "its message is rejected" in with_task(app)


def test_prefetch_by_processes() -> None:
    """As far as it is set; 0 is no limit."""
    assert "4 * 8 = 32 tasks in hand" in said(an_app(worker_concurrency=8), "shop")
    assert "4 tasks for each process" in said(an_app(), "shop")
    assert "worker_prefetch_multiplier=0 is no limit" in said(an_app(worker_prefetch_multiplier=0), "shop")


def test_rabbitmq_takes_back_and_names_the_next_command() -> None:
    """Its queues are the app's."""
    text = said(an_app(task_default_queue="orders"), "shop")
    assert "3600 s / 1800 s = 2 times" in text
    assert "holdgate doctor rabbitmq orders --outage 3600" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("broker", "options", "words"),
    [
        ("redis://:secret@localhost/0", {}, "3600 s / 3600 s = 1 time, so such a task runs 1 more time"),
        ("redis://localhost/0", {"visibility_timeout": 600}, "3600 s / 600 s = 6 times, so such a task runs 6 more times"),
        ("sqs://", {"visibility_timeout": 43200}, "3600 s / 43200 s = 0 times, so none comes twice"),
        ("redis://localhost/0", {"visibility_timeout": 0}, "a task that is unacked is handed to another worker immediately"),
    ],
)
def test_others_hand_out_what_is_not_acked_in_time(broker: str, options: dict[str, Any], words: str) -> None:
    """By the visibility timeout."""
    text = said(an_app(broker, broker_transport_options=options), "shop")
    assert words in text
    assert "secret" not in text


def test_a_list_of_brokers_and_an_unknown_one() -> None:
    """The first counts; of a transport without a rule nothing is said."""
    assert "RabbitMQ takes back" in said(an_app("amqp://a//;redis://b/0"), "shop")
    assert "takes back" not in said(an_app("memory://"), "shop")


def test_an_app_with_a_guard_says_so_first() -> None:
    """Its costs are those of an outage of anything else."""
    app = an_app()
    with_task(app, acks_late=True)
    CeleryGuard(app, needs={"charge": [Dependency("payments")]})
    assert said(app, "app").startswith("it has a CeleryGuard: an outage of what its messages need costs none of what follows")
    assert said(an_app(), "app") == ""


def test_an_app_that_its_guard_refuses_says_so() -> None:
    """The guard is in, and tasks are still acked before they run: the worker does not start, so nothing is said of a hold."""
    app = an_app()
    with_task(app, acks_late=False)
    CeleryGuard(app, needs={"charge": [Dependency("payments")]})
    first, *_ = costs(app, HOUR)
    assert (first.refused, first.cost) == (True, False)
    assert first.text.startswith("it has a CeleryGuard, and does not start with it: ['charge'] is acked before running")


def test_an_app_without_tasks_is_refused() -> None:
    """Its modules are imported first; those that cannot be are named."""
    (empty, *_) = costs(an_app(), HOUR)
    assert (empty.refused, empty.text) == (True, "it has no tasks: name the modules that have them in include=[...]")
    with pytest.raises(Refusal, match="importing the tasks of the app needs 'no_such_module'"):
        costs(an_app(include=["no_such_module"]), HOUR)


def test_what_is_no_celery_app_is_refused() -> None:
    """With what it is."""
    with pytest.raises(Refusal, match="this is a dict, and no Celery app"):
        costs({}, HOUR)


def test_the_command(tmp_path: Path) -> None:
    """In a process of its own, as a person runs it; what the app prints does not come into the JSON."""
    (tmp_path / "shop.py").write_text(
        "from celery import Celery\nprint('starting')\napp = Celery('shop', broker='amqp://user:secret@localhost//', include=['jobs'])\n"
    )
    (tmp_path / "jobs.py").write_text("from shop import app\n@app.task\ndef charge(): ...\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "holdgate", "doctor", "celery", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    shown = run("shop:app", "--json", "--outage", "1800")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found[0]["about"] == "jobs.charge"
    assert found[0]["cost"] is True
    assert "1800 s - 540 s = 1260 s of the outage is given up before it ends, 70 of 100 messages" in found[0]["text"]
    assert "secret" not in shown.stdout + shown.stderr
    assert run("shop:worker").returncode == 2
