from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.runner import invoke

RIGHT = """\
[dependencies.payments]
open_duration = "10s"
[guard]
memory = "64MiB"
[control]
port = 0
token = "canary-of-sixteen-and-more"
"""


@pytest.fixture
def right(tmp_path: Path) -> Path:
    path = tmp_path / "right.toml"
    path.write_text(RIGHT, encoding="utf-8")
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.toml"
    path.write_text('[dependencies.payments]\nopen_duraton = 3\nopen_share = "much"\n', encoding="utf-8")
    return path


def test_a_right_file_is_called_right(right: Path) -> None:
    """With exit code 0."""
    checked = invoke("config", "check", str(right))
    assert (checked.exit_code, checked.stdout, checked.stderr) == (0, f"{right}: is right\n", "")
    assert json.loads(invoke("config", "check", str(right), "--json").stdout) == {"valid": True, "problems": []}


def test_a_wrong_file_has_all_its_mistakes_told(wrong: Path) -> None:
    """One a line, with exit code 1; the same as JSON."""
    checked = invoke("config", "check", str(wrong))
    assert (checked.exit_code, checked.stdout) == (1, "")
    assert checked.stderr.startswith(f"{wrong}:2: dependencies.payments.open_duraton: ")
    found = invoke("config", "check", str(wrong), "--json")
    assert (found.exit_code, json.loads(found.stdout)["problems"]) == (1, checked.stderr.splitlines())


@pytest.mark.parametrize("what", ["check", "show"])
@pytest.mark.parametrize(("make", "words"), [(Path.mkdir, "Is a directory"), (None, "No such file"), (Path.write_bytes, "not UTF-8")])
def test_what_cannot_be_read_is_said(tmp_path: Path, what: str, make: object, words: str) -> None:
    """A folder, nothing, and what is no text: exit code 1, without a traceback."""
    path = tmp_path / "some.toml"
    if make is Path.mkdir:
        path.mkdir()
    elif make is not None:
        path.write_bytes(b"\xff\xfe")
    seen = invoke("config", what, str(path))
    assert (seen.exit_code, words in seen.stderr) == (1, True)


def test_tables_within_tables_without_end_are_refused(tmp_path: Path) -> None:
    """Whatever the parser makes of it."""
    path = tmp_path / "deep.toml"
    path.write_text(f"x = {'[' * 20_000}{']' * 20_000}\n", encoding="utf-8")
    checked = invoke("config", "check", str(path))
    assert (checked.exit_code, checked.stderr) == (1, f"{path}: has tables within tables without end\n")


def test_what_is_shown_says_where_it_comes_from(right: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the environment, and with --effective the defaults; the token is masked."""
    monkeypatch.setenv("HOLDGATE__DEPENDENCIES__PAYMENTS__OPEN_SHARE", "20%")
    shown = invoke("config", "show", str(right))
    assert shown.exit_code == 0
    assert f"dependencies.payments.circuit.open_duration = 10.0  # {right}:2\n" in shown.stdout
    assert "open_share = 0.2      # environment HOLDGATE__DEPENDENCIES__PAYMENTS__OPEN_SHARE" in shown.stdout
    assert "# default" not in shown.stdout
    every = invoke("config", "show", str(right), "--effective", "--no-environment", "--json")
    found = {each["setting"]: each for each in json.loads(every.stdout)}
    assert found["dependencies.payments.circuit.open_share"] == {
        "setting": "dependencies.payments.circuit.open_share",
        "value": 0.1,
        "from": "default",
    }
    assert found["control.token"]["value"] == "********"
    assert "canary" not in shown.output + every.output


def test_differences_say_which_of_them_need_a_restart(right: Path, wrong: Path, tmp_path: Path) -> None:
    """Exit code 0 for none, 1 for some, 2 for a file that is not right, as diff has them."""
    other = tmp_path / "other.toml"
    other.write_text(RIGHT.replace('"10s"', "15").replace("64", "65").replace("canary", "kanari"), encoding="utf-8")
    assert invoke("config", "diff", str(right), str(right)).exit_code == 0
    found = invoke("config", "diff", str(right), str(other))
    assert (found.exit_code, found.stdout.splitlines()) == (
        1,
        [
            "dependencies.payments.circuit.open_duration 10.0 -> 15.0",
            "guard.memory 67108864 -> 68157440  (needs a restart)",
            'control.token "********" -> "********"  (needs a restart)',
        ],
    )
    first, *_ = json.loads(invoke("config", "diff", str(right), str(other), "--json").stdout)
    assert first == {"setting": "dependencies.payments.circuit.open_duration", "before": "10.0", "after": "15.0", "live": True}
    assert invoke("config", "diff", str(right), str(wrong)).exit_code == 2


def test_the_schema_is_json() -> None:
    """For an editor."""
    assert json.loads(invoke("config", "schema").stdout)["title"] == "Settings of holdgate"
