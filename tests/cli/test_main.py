from __future__ import annotations

import subprocess
import sys

import pytest

from holdgate.__main__ import main
from holdgate.cli import REFUSED


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_libraries_the_command_line_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the exact command, and no traceback."""
    for name in [name for name in sys.modules if name.startswith("holdgate.cli.") or name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--broker", "memory"])
    assert ended.value.code == REFUSED
    assert capsys.readouterr().err.splitlines() == [
        'The command line comes with: pip install "holdgate[cli]", and with what the demo needs: "holdgate[demo]"'
    ]


def test_an_import_error_of_our_own_is_not_hidden_behind_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken module must not be reported as a missing library."""
    monkeypatch.setitem(sys.modules, "holdgate.cli.app", None)
    with pytest.raises(ImportError, match=r"holdgate\.cli\.app"):
        main(["--version"])


def test_python_dash_m_is_the_same_command_line() -> None:
    """For those whose scripts folder is not on the path."""
    ended = subprocess.run([sys.executable, "-m", "holdgate", "--version"], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "holdgate")


def test_importing_the_command_line_imports_neither_click_nor_rich() -> None:
    """They come with an extra, and `import holdgate.cli` must work without it."""
    look = "import sys, holdgate.cli; print({'click', 'rich', 'aiokafka', 'confluent_kafka'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.strip() == "set()"
