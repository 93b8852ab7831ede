"""An app that is named on the command line: found, imported, or refused with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from holdgate.cli.commands import Refusal
from holdgate.cli.doctor.loading import load_app


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder from which the apps start; nothing of it stays imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal(spec: str) -> str:
    with pytest.raises(Refusal) as refused:
        load_app(spec, "Worker")
    assert refused.value.exit_code == 2
    return str(refused.value.message)


def test_a_dotted_path_is_followed(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a package of the working directory, too; what it prints goes to standard error."""
    (shop / "doctored").mkdir()
    (shop / "doctored" / "main.py").write_text("print('hello')\nclass apps:\n    first = 7\n")

    assert load_app("doctored.main:apps.first", "Worker") == 7
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


@pytest.mark.parametrize("spec", ["doctored", "doctored:", ":app", ""])
def test_a_name_without_an_app_is_refused(spec: str) -> None:
    """With an example."""
    assert refusal(spec) == f"{spec!r} names no app: write MODULE:APP, as in shop.worker:app"


def test_a_module_that_is_not_there(shop: Path) -> None:
    """The folder that was searched is named; so it is for a package that has no such module."""
    assert refusal("doctored_nowhere:app").startswith(f"there is no module 'doctored_nowhere' in {shop}")
    (shop / "doctored_shop").mkdir()
    (shop / "doctored_shop" / "__init__.py").write_text("")
    assert refusal("doctored_shop.worker:app").startswith("there is no module 'doctored_shop.worker'")


def test_what_the_app_needs_and_is_not_installed(shop: Path) -> None:
    """It is not mistaken for the app itself."""
    (shop / "doctored_needy.py").write_text("import doctored_missing\n")
    assert refusal("doctored_needy:app") == (
        "importing doctored_needy needs 'doctored_missing', which is not installed: run this where the app runs"
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [("x = 1\nint('secret')", "ValueError"), ("x = 1\nraise SystemExit(3)", "SystemExit"), ("x = 1\nx = (", "SyntaxError")],
)
def test_an_app_that_raises_is_named_by_its_line(shop: Path, code: str, kind: str) -> None:
    """And not by the text of its exception, which may have a password."""
    (shop / "doctored_broken.py").write_text(code)
    text = refusal("doctored_broken:app")
    assert text == f"importing doctored_broken raised {kind} at {shop / 'doctored_broken.py'}:2: mend that first"


def test_an_attribute_that_raises_is_named_by_its_line(shop: Path) -> None:
    """A proxy outside of its context, say: where it was raised, and not what it said."""
    (shop / "doctored_lazy.py").write_text("def __getattr__(name):\n    raise RuntimeError('amqp://user:secret@rabbitmq')\n")
    words = refusal("doctored_lazy:app")
    assert words.endswith(f"looking for 'app' raised RuntimeError at {shop / 'doctored_lazy.py'}:2: mend that first")
    assert "secret" not in words


def test_a_name_that_the_module_has_not(shop: Path) -> None:
    """What it has of the kind is listed."""
    (shop / "doctored_named.py").write_text("class Worker: ...\nfirst = Worker()\nsecond = Worker()\nother = 1\n")
    assert refusal("doctored_named:app") == (
        "'doctored_named:app': doctored_named has no 'app': it has doctored_named:first, doctored_named:second"
    )
    (shop / "doctored_empty.py").write_text("")
    assert refusal("doctored_empty:app").endswith("has no 'app': it has no Worker")
