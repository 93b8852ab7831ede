from __future__ import annotations

import logging
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import holdgate
from holdgate import CircuitSettings, CountWindow, Dependency, Guard, Limits, State, TimeWindow, http
from holdgate.config import Settings
from holdgate.errors import SettingsError
from holdgate.flow.events import CommandGiven

FILE = """
    [circuit]
    healthy_interval = "1m"

    [bases.web]
    failures = "http"
    open_duration = "10s"
    window = { calls = 40 }
    ramp = { growth = 3, initial = 2 }

    [bases.careful]
    base = "web"
    open_duration = "20s"

    [dependencies.payments]
    base = "careful"
    failure_rate_threshold = "40%"
    ramp = { initial = 1 }

    [dependencies.payments.circuit]
    window = { seconds = "30s" }

    [dependencies.e-mail]
    open_duration = 7

    [retry]
    attempts = 7

    [guard]
    memory = "128MiB"
    log = { work_every = "none" }

    [run]
    needs = ["payments"]
    timeout = "30s"

    [runs.orders]
    concurrency = 4
    retry = { initial_backoff = "200ms" }
"""


def written(tmp_path: Path, text: str = FILE) -> Path:
    path = tmp_path / "holdgate.toml"
    path.write_text(dedent(text).lstrip(), encoding="utf-8")
    return path


def loaded(tmp_path: Path, text: str = FILE, **environment: str) -> Settings:
    return holdgate.load(written(tmp_path, text), environment=environment)


def complaint(tmp_path: Path, text: str, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text, **environment)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_sections_are_laid_over_their_bases_and_those_over_the_circuit_of_all(tmp_path: Path) -> None:
    """A window replaces a window as a whole, and a ramp is merged setting by setting."""
    circuit = loaded(tmp_path).dependency("payments").settings
    assert (circuit.healthy_interval, circuit.open_duration, circuit.failure_rate_threshold) == (60.0, 20.0, 0.4)
    assert circuit.window == TimeWindow(30.0)
    assert (circuit.ramp.growth, circuit.ramp.initial) == (3.0, 1)


def test_dependencies_are_ready_and_made_once(tmp_path: Path) -> None:
    """Whoever asks gets the same one; failures are read by the named rule."""
    settings = loaded(tmp_path)
    assert list(settings.dependencies) == ["payments", "e-mail"]
    payments = settings.dependencies["payments"]
    assert payments is settings.dependency("payments")
    assert payments.retry_after_of(_Busy()) == http.retry_after(_Busy()) == 3.0


class _Busy(Exception):
    status = 503
    headers = {"Retry-After": "3"}  # noqa: RUF012


def test_the_program_says_what_a_file_cannot(tmp_path: Path) -> None:
    """When a dependency is asked for first; later it is made."""
    settings = loaded(tmp_path)
    assert settings.dependency("e-mail", probe=lambda: True).probe is not None
    with pytest.raises(SettingsError, match=r"'e-mail' is made already: give probe"):
        settings.dependency("e-mail", probe=lambda: True)
    with pytest.raises(SettingsError, match="settings= of dependency 'payments' come from"):
        settings.dependency("payments", settings=CircuitSettings())


@pytest.mark.parametrize("ask", [Settings.dependency, Settings.run_arguments])
def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, ask: Any) -> None:
    """For dependencies and runs alike."""
    with pytest.raises(SettingsError, match=r"did you mean (payments|orders)\?"):
        ask(loaded(tmp_path), "paymets" if ask is Settings.dependency else "oders")


def test_arguments_of_guards_and_runs_are_those_that_somebody_gives(tmp_path: Path) -> None:
    """[retry] is under every run, [run] under each of its name."""
    settings = loaded(tmp_path)
    arguments = settings.guard_arguments()
    assert (arguments.pop("log").work_every, arguments) == (None, {"memory": 128 * 1024 * 1024})
    Guard(*settings.dependencies.values(), **settings.guard_arguments())
    orders, others = settings.run_arguments("orders"), settings.run_arguments()
    assert (orders["retry"].attempts, orders["retry"].initial_backoff, orders["concurrency"], orders["timeout"]) == (7, 0.2, 4, 30.0)
    assert (others["retry"].initial_backoff, "concurrency" in others) == (0.5, False)
    assert orders["needs"] == [settings.dependency("payments")]


def test_the_environment_wins_over_the_file_and_the_program_over_both(tmp_path: Path) -> None:
    """Names are found without regard to case and to what is no letter."""
    variables = {"HOLDGATE__DEPENDENCIES__PAYMENTS__OPEN_DURATION": "30s", "HOLDGATE__DEPENDENCIES__E_MAIL__WINDOW__CALLS": "50"}
    settings = loaded(tmp_path, **variables, HOLDGATE__GUARD__MEMORY="none", HOLDGATE__RUN__NEEDS='["e-mail"]')
    assert settings.dependency("payments").settings.open_duration == 30.0
    assert settings.dependency("e-mail").settings.window == CountWindow(50)
    assert settings.guard_arguments()["memory"] is None
    assert settings.run_arguments()["needs"] == [settings.dependency("e-mail")]
    said = {"dependencies": {"payments": {"open_duration": 45}}}
    both = holdgate.load(tmp_path / "holdgate.toml", environment=variables, in_code=said)
    assert both.dependency("payments").settings.open_duration == 45.0


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    """The line, the section if it is another's, the variable, the program, or that it is a default."""
    variables = {"HOLDGATE__DEPENDENCIES__PAYMENTS__OPEN_JITTER": "0"}
    settings = holdgate.load(written(tmp_path), environment=variables, in_code={"run": {"span": 5}})
    found = {each.setting: (each.value, each.origin.replace(f"{tmp_path}/", "")) for each in settings.effective()}
    circuit = "dependencies.payments.circuit"
    assert found[f"{circuit}.healthy_interval"] == (60.0, "holdgate.toml:2 [circuit]")
    assert found[f"{circuit}.open_duration"] == (20.0, "holdgate.toml:12 [bases.careful]")
    assert found[f"{circuit}.ramp.growth"] == (3.0, "holdgate.toml:8 [bases.web.ramp]")
    assert found[f"{circuit}.ramp.initial"] == (1, "holdgate.toml:17")
    assert found[f"{circuit}.window.seconds"] == (30.0, "holdgate.toml:20")
    assert found[f"{circuit}.open_jitter"] == (0.0, "environment HOLDGATE__DEPENDENCIES__PAYMENTS__OPEN_JITTER")
    assert found["runs.orders.retry.attempts"] == (7, "holdgate.toml:26 [retry]")
    assert found["runs.orders.timeout"] == (30.0, "holdgate.toml:34 [run]")
    assert found["run.span"] == (5, "the program")
    assert found["guard.drain_timeout"] == (25.0, "default")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[dependencies.p]\nopen_duration = "5 minutes"', 'holdgate.toml:2: dependencies.p.open_duration: "5 minutes" is not seconds'),
        ('[dependencies.p]\nopen_duration = "5 minutes"', 'write "5m"'),
        ("[dependencies.p]\nfailure_rate_threshold = 50", "write 0.5 for 50 %"),
        ("[dependencies.p]\nopen_duraton = 3", "holdgate.toml:2: dependencies.p.open_duraton: is none of those that are known here"),
        ("[dependencies.p]\nopen_duraton = 3", "did you mean open_duration?"),
        ('[dependencies.p]\nfailures = "os.system"', 'is not one of "amqp"'),
        (
            '[dependencies.p]\nbase = "q"\n[dependencies.q]\nbase = "p"',
            "holdgate.toml:2: dependencies.p.base: leads back to itself: q -> p -> q",
        ),
        ('[dependencies.p]\nbase = "p"', "leads back to itself: p -> p"),
        ('[bases.web]\n[dependencies.p]\nbase = "wb"', 'holdgate.toml:3: dependencies.p.base: "wb" is none of those'),
        ("[dependencies.p]\nbase = 3", "is not a text in quotes"),
        ("[dependencies.p]\nopen_share = 0.2\ncircuit = {open_share = 0.3}", "is given twice, here and in circuit.open_share"),
        ("[dependencies.p]\ncircuit = 3", "holdgate.toml:2: dependencies.p.circuit: 3 is no table of settings"),
        ("dependencies = 3", "3 is not tables"),
        ("bases = 3", "holdgate.toml:1: bases: 3 is not tables"),
        ("[bases]\nx = 3", "holdgate.toml:2: bases.x: 3 is no table of settings"),
        ("[bases.x]\nopen_jitter = 2", "holdgate.toml:2: bases.x.open_jitter: open_jitter must be in [0, 1)"),
        ('[dependencies."a b"]', "name must be up to 100 letters"),
        ("[guard]\nmemory = 64", "holdgate.toml:2: guard.memory: memory=64 must be at least 1048576 bytes"),
        ("[run]\nspan = 0", "holdgate.toml:2: run.span: span must be at least 1"),
        ('[run]\nneeds = ["p"]\n[dependencies.q]', 'holdgate.toml:2: run.needs[0]: "p" is none of those'),
        ("retry = 3", "3 is no table of settings"),
        ('[retry]\nnot_retryable = "KeyError"', "names exception types"),
        ('[control]\ntoken = "hunter2"', "holdgate.toml:2: control.token: token must be at least 16 ASCII characters"),
        ("[control]\nport = 70000", "holdgate.toml:2: control.port:"),
        ("circuit = 3", "holdgate.toml:1: circuit: 3 is no table of settings"),
        ("[gaurd]", "holdgate.toml:1: gaurd: is none of those that are known here; did you mean guard?"),
        ("x = [", "is not TOML"),
    ],
)
def test_each_mistake_is_told_with_file_line_place_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    """What people write by mistake."""
    found = complaint(tmp_path, text)
    assert words in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "HOLDGATE__DEPENDENCIES__PAYMENT__OPEN_SHARE",
            "0.5",
            "payment: is none of those that are known here; did you mean payments",
        ),
        ("HOLDGATE__RETRY__ATTEMPTS", "many", 'retry.attempts: "many" is not a whole number'),
        ("HOLDGATE__RETRY__ATTEMPTS", "1\nx = 2", "is not a whole number"),
        ("HOLDGATE__RETRY__ATTEMPTS__X", "1", "retry.attempts: 7 is no table of settings"),
        ("HOLDGATE__CONTROL__TOKEN", "hunter2", "token must be at least 16 ASCII characters"),
        ("HOLDGATE__RETRY", "1", "is no table of settings"),
    ],
)
def test_a_variable_that_is_wrong_is_named(tmp_path: Path, variable: str, value: str, words: str) -> None:
    """With what is right, as for a line of the file; a secret is not quoted."""
    found = complaint(tmp_path, FILE, **{variable: value})
    assert found.startswith(f"environment {variable}: ")
    assert words in found
    assert "hunter2" not in found


def test_a_token_is_masked_everywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the settings that are shown, in what changed, and in the text of an error."""
    caplog.set_level(logging.DEBUG)
    canary = "canary-token-of-sixteen"
    settings = loaded(tmp_path, f'[control]\nport = 0\ntoken = "{canary}"')
    written(tmp_path, f'[control]\nport = 0\ntoken = "{canary}-2"')
    found = settings.reload()
    assert [each.setting for each in found.waiting] == ["control.token"]
    assert canary not in f"{settings.effective()} {found} {caplog.text}"
    assert canary not in complaint(tmp_path, f'[control]\ntoken = ["{canary}"]')


async def test_a_file_that_is_read_again_changes_running_circuits(tmp_path: Path) -> None:
    """Settings of circuits and retries at once, with what they know; the rest is named as waiting for a restart."""
    settings = loaded(tmp_path)
    payments = settings.dependency("payments")
    async with Guard(*settings.dependencies.values(), signals=False) as guard:
        circuit = guard.circuit("payments")
        circuit.open_for(500.0, guard.now())
        retry = settings.run_arguments("orders")["retry"]
        changed = FILE.replace('"20s"', '"25s"').replace('"128MiB"', '"64MiB"').replace("attempts = 7", "attempts = 9")
        written(tmp_path, changed.replace('timeout = "30s"', 'timeout = "31s"'))
        found = settings.reload(guard)
        assert (circuit.settings.open_duration, payments.settings.open_duration, circuit.state) == (25.0, 25.0, State.OPEN)
        assert guard.circuit("payments") is circuit
        assert [str(each) for each in found.applied] == [
            "dependencies.payments.circuit.open_duration 20.0 -> 25.0",
            "run.retry.attempts 7 -> 9",
            "runs.orders.retry.attempts 7 -> 9",
        ]
        assert [each.setting for each in found.waiting] == ["guard.memory", "run.timeout", "runs.orders.timeout"]
        assert (settings.run_arguments("orders")["retry"].attempts, retry.attempts) == (9, 7)
        # What waits is compared with the start: it waits no more when it is taken back.
        written(tmp_path)
        assert settings.reload(guard).waiting == ()


def test_limits_are_laid_over_those_of_the_base(tmp_path: Path) -> None:
    """Setting by setting; a variable wins, and each has its line. "none" takes them back."""
    file = """
        [bases.api]
        limits = { rate = 50, per = "1m" }

        [dependencies.payments]
        base = "api"
        limits = { concurrency = 8 }

        [dependencies.email]
        base = "api"
        limits = "none"
    """
    settings = loaded(tmp_path, file, HOLDGATE__DEPENDENCIES__PAYMENTS__LIMITS__CONCURRENCY="9")
    assert settings.dependency("payments").limits == Limits(rate=50, per=60.0, concurrency=9)
    assert settings.dependency("email").limits is None
    wrong = complaint(tmp_path, file.replace("concurrency = 8", "concurrency = 0, rat = 3, per = '5 minutes'"))
    assert "holdgate.toml:6: dependencies.payments.limits.rat: is none of those that are known here; did you mean rate?" in wrong
    assert 'holdgate.toml:6: dependencies.payments.limits.per: "5 minutes" is not seconds' in wrong


async def test_limits_that_are_read_again_hold_from_the_next_call_on(tmp_path: Path) -> None:
    """In the guard that runs, and the audit log says which."""
    settings = loaded(tmp_path, "[dependencies.payments]\nlimits = { rate = 50, per = '1m' }\n")
    async with Guard(*settings.dependencies.values(), signals=False) as guard:
        written(tmp_path, "[dependencies.payments]\nlimits = { rate = 5, per = '1m' }\n")
        assert [each.setting for each in settings.reload(guard, actor="alice").applied] == ["dependencies.payments.limits.rate"]
        assert guard.dependencies["payments"].limits == Limits(rate=5, per=60.0)
        (entry,) = guard.audit()
        assert isinstance(entry, CommandGiven)
        assert (entry.actor, entry.reason) == ("alice", "dependencies.payments.limits.rate 50 -> 5")


def test_the_control_plane_of_a_fleet_is_in_the_file(tmp_path: Path) -> None:
    """What the worker calls itself, and whom it asks for the fleet's table. A variable gives each of them its own name."""
    file = "[control]\nport = 0\nname = 'orders'\npeers = ['http://worker-2:9099']\n"
    settings = loaded(tmp_path, file, HOLDGATE__CONTROL__NAME="orders-7")
    shown = {each.setting: each.shown for each in settings.effective() if each.setting.startswith("control.")}
    assert (shown["control.name"], shown["control.peers"]) == ('"orders-7"', '["http://worker-2:9099"]')
    assert settings.guard_arguments()["control"].url is None
    assert complaint(tmp_path, file.replace("http:", "ftp:")).startswith("holdgate.toml:4: control.peers: ")
    assert complaint(tmp_path, file.replace("'orders'", "''")).startswith("holdgate.toml:3: control.name: ")


@pytest.mark.parametrize("peers", ["'http://me:secret@worker-2'", "['http://me:secret@worker-2']", "[['http://me:secret@worker-2']]"])
def test_a_password_in_a_peer_is_not_quoted(tmp_path: Path, peers: str) -> None:
    """Neither where the address is wrong nor where no list is given, which is what a variable for one peer says."""
    words = complaint(tmp_path, f"[control]\nport = 0\npeers = {peers}\n")
    assert (words.startswith("holdgate.toml:3: control.peers: "), "secret" in words) == (True, False)


async def test_many_changes_are_one_entry_of_the_audit_log(tmp_path: Path) -> None:
    """It names those that one reads in a line, and how many more there are."""
    names = [f"d{number}" for number in range(25)]
    settings = loaded(tmp_path, "".join(f"[dependencies.{name}]\nopen_duration = 1\n" for name in names))
    async with Guard(*settings.dependencies.values(), signals=False) as guard:
        written(tmp_path, "".join(f"[dependencies.{name}]\nopen_duration = 2\n" for name in names))
        assert len(settings.reload(guard).applied) == 25
        (entry,) = guard.audit()
        assert isinstance(entry, CommandGiven)
        assert entry.reason.startswith("dependencies.d0.circuit.open_duration 1.0 -> 2.0, dependencies.d1.")
        assert entry.reason.endswith("dependencies.d19.circuit.open_duration 1.0 -> 2.0, and 5 more")


async def test_a_file_that_is_not_valid_changes_nothing(tmp_path: Path) -> None:
    """Not even what is right in it."""
    settings = loaded(tmp_path)
    async with Guard(settings.dependency("payments"), signals=False) as guard:
        written(tmp_path, FILE.replace('"20s"', '"25s"').replace('"1m"', '"1 minute"'))
        with pytest.raises(SettingsError, match='write "1m"'):
            settings.reload(guard)
        assert guard.circuit("payments").settings.open_duration == 20.0


async def test_a_dependency_of_the_program_is_left_alone(tmp_path: Path) -> None:
    """One of the same name that the file did not make keeps its settings, and a given probe_timeout stays the program's."""
    settings = loaded(tmp_path)
    own = Dependency("e-mail")
    payments = settings.dependency("payments", probe_timeout=1.0)
    settings.dependency("e-mail")
    async with Guard(own, payments, signals=False) as guard:
        text = FILE.replace("open_duration = 7", "open_duration = 9\nprobe_timeout = 3")
        written(tmp_path, text.replace('base = "careful"', 'base = "careful"\nprobe_timeout = 9'))
        settings.reload(guard)
        assert guard.circuit("e-mail").settings == CircuitSettings()
        assert (payments.probe_timeout, settings.dependency("e-mail").probe_timeout) == (1.0, 3.0)


async def test_a_dependency_that_was_missing_for_a_moment_goes_on_by_what_the_whole_file_says(tmp_path: Path) -> None:
    """Half of a file that is being written is right by itself, too. What the rest has changed is not lost."""
    settings = loaded(tmp_path, "[dependencies.email]\n[dependencies.payments]\nopen_duration = 10\n")
    async with Guard(*settings.dependencies.values(), signals=False) as guard:
        written(tmp_path, "[dependencies.email]\n")
        assert settings.reload(guard).applied == ()
        written(tmp_path, "[dependencies.email]\n[dependencies.payments]\nopen_duration = 20\n")
        found = settings.reload(guard)
        assert [str(each) for each in found.applied] == ["dependencies.payments.circuit.open_duration 10.0 -> 20.0"]
        assert found.waiting == ()
        assert guard.circuit("payments").settings.open_duration == 20.0


def test_a_run_that_is_called_retry_has_settings_that_wait(tmp_path: Path) -> None:
    """Only those of its [runs.retry.retry] are taken up."""
    settings = loaded(tmp_path, "[runs.retry]\nspan = 5\nretry = { attempts = 3 }\n")
    written(tmp_path, "[runs.retry]\nspan = 6\nretry = { attempts = 4 }\n")
    found = settings.reload()
    assert [each.setting for each in found.applied] == ["runs.retry.retry.attempts"]
    assert [each.setting for each in found.waiting] == ["runs.retry.span"]


@pytest.mark.parametrize("nested", [True, False])
def test_a_setting_of_a_circuit_is_the_last_that_is_said_in_either_form(tmp_path: Path, nested: bool) -> None:
    """The program wins over a variable, and a variable over the file, whether the section has the setting or its circuit table."""
    file = "[dependencies.p]\nopen_duration = 1\n" if nested else "[dependencies.p.circuit]\nopen_duration = 1\n"
    variable = f"HOLDGATE__DEPENDENCIES__P__{'CIRCUIT__' if nested else ''}OPEN_DURATION"
    assert loaded(tmp_path, file, **{variable: "2"}).dependency("p").settings.open_duration == 2.0
    table = {"open_duration": 3}
    said = {"dependencies": {"p": {"circuit": table} if nested else table}}
    other = {f"HOLDGATE__DEPENDENCIES__P__{'' if nested else 'CIRCUIT__'}OPEN_DURATION": "2"}
    settings = holdgate.load(written(tmp_path, "[dependencies.p]\n"), environment=other, in_code=said)
    assert settings.dependency("p").settings.open_duration == 3.0
    origin = {each.setting: each.origin for each in settings.effective()}["dependencies.p.circuit.open_duration"]
    assert origin == "the program"
