from __future__ import annotations

import builtins
from pathlib import Path

import pytest
from tests.cli.runner import invoke

import holdgate

pytest.importorskip("yaml", reason="PyYAML is not in this environment; make setup brings it")

SHOP = Path(__file__).parents[3] / "examples" / "resilience4j" / "application.yml"


def test_a_file_becomes_one_that_is_right(tmp_path: Path) -> None:
    """`holdgate config check` says so, and a program reads it."""
    out = tmp_path / "holdgate.toml"
    done = invoke("import", "resilience4j", str(SHOP), "--out", str(out))
    assert (done.exit_code, done.stdout) == (0, "")
    assert invoke("config", "check", str(out)).stdout == f"{out}: is right\n"

    settings = holdgate.load(out, environment={})
    payments, inventory = (settings.dependency(name) for name in ("payments", "inventory"))
    assert payments.settings.failure_rate_threshold == 0.6
    assert inventory.settings.slow_call_duration == 2.5
    assert inventory.limits is not None
    assert inventory.limits.concurrency == 8
    # The limit is that of payments alone: handlers that call inventory have none there.
    assert "timeout" not in settings.run_arguments()
    assert '# [runs.NAME]\n# timeout = "3s"  # line 54\n' in out.read_text()


def test_every_line_of_the_file_is_in_the_report(tmp_path: Path) -> None:
    """Each property of Resilience4j, in one of three sections; nothing is left out in silence."""
    done = invoke("import", "resilience4j", str(SHOP))
    lines = {number for number, line in enumerate(SHOP.read_text().splitlines(), start=1) if ": " in line and number > 8}
    lines -= {
        number for number, line in enumerate(SHOP.read_text().splitlines(), start=1) if "baseConfig" in line or "rofile: prod" in line
    }
    said = {int(line.split(":")[1]) for line in done.stderr.splitlines() if line.startswith(f"  {SHOP}:")}
    # The lists begin on lines of their own, and the last line is for another profile.
    assert lines - said == {max(lines)}
    assert f"{SHOP}:57: left out, it is for the profile prod: --profile adds it" in done.stderr
    assert [line.split(" (")[0] for line in done.stderr.splitlines() if line.endswith("):")] == [
        "Taken over", "Taken over, and has another meaning", "No equal",
    ]  # fmt: skip
    assert done.stdout.startswith("# Made by `holdgate import resilience4j` of application.yml")


def test_a_profile_adds_its_documents() -> None:
    """As in the service that runs with it."""
    assert 'failure_rate_threshold = "60%"  # line 12' in invoke("import", "resilience4j", str(SHOP)).stdout
    assert 'failure_rate_threshold = "40%"  # line 58' in invoke("import", "resilience4j", str(SHOP), "--profile", "prod").stdout


def test_properties_become_the_same(tmp_path: Path) -> None:
    """The other form of the same settings."""
    file = tmp_path / "application.properties"
    file.write_text("resilience4j.circuitbreaker.instances.payments.wait-duration-in-open-state=10s\n")

    assert 'open_duration = "10s"  # line 1' in invoke("import", "resilience4j", str(file)).stdout


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (
            "resilience4j.retry.instances.a.maxAttempts: none\n",
            1,
            ":1: resilience4j.retry.instances.a.maxAttempts: must be a whole number from 1",
        ),
        (
            "resilience4j.retry.instances.a:\n  waitDuration: 2m\n  enableExponentialBackoff: true\n  exponentialMaxWaitDuration: 1m\n",
            1,
            "max_backoff",
        ),
        ("server.port: 8080\n", 1, "has nothing of Resilience4j"),
        ("a: 1\n  b: 2\n", 2, ":2: is no YAML"),
    ],
    ids=["a wrong value", "values that clash", "nothing to import", "no YAML"],
)
def test_a_file_that_is_wrong_makes_nothing(tmp_path: Path, text: str, code: int, words: str) -> None:
    """One line for each problem, with path and line, and no settings file."""
    file, out = tmp_path / "application.yml", tmp_path / "holdgate.toml"
    file.write_text(text)
    done = invoke("import", "resilience4j", str(file), "--out", str(out))

    assert done.exit_code == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_retries_that_differ_are_a_file_by_themselves(tmp_path: Path) -> None:
    """All of it comments, since only a reader knows whose run is whose; a name with a line break in it ends none of them."""
    file = tmp_path / "application.yml"
    file.write_text('resilience4j.retry.instances:\n  a: {maxAttempts: 4}\n  "b\\nattempts = 7 #": {maxAttempts: 5}\n')
    done = invoke("import", "resilience4j", str(file))
    assert done.exit_code == 0
    assert "# Which run is a's?\n# [runs.NAME.retry]\n# attempts = 4  # line 2\n" in done.stdout
    assert [line for line in done.stdout.splitlines() if line and not line.startswith("#")] == []


def test_a_settings_file_that_is_there_stays(tmp_path: Path) -> None:
    """Somebody may have edited it."""
    out = tmp_path / "holdgate.toml"
    out.write_text("# mine\n")
    done = invoke("import", "resilience4j", str(SHOP), "--out", str(out))

    assert done.exit_code == 2
    assert f"{out}: is there already" in done.stderr
    assert out.read_text() == "# mine\n"
    assert invoke("import", "resilience4j", str(SHOP), "--out", str(tmp_path / "gone" / "x.toml")).exit_code == 2


def test_without_its_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is not part of the command line's."""
    found = builtins.__import__

    def missing(name: str, *rest: object, **more: object) -> object:
        if name == "yaml":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    done = invoke("import", "resilience4j", str(SHOP))

    assert done.exit_code == 2
    assert "pip install 'holdgate[import]'" in done.stderr
