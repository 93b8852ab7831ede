"""The types of the installed wheel: what tests/typing says of them holds where no source of ours is on the path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.packaging.environment import ROOT, Environment

pytestmark = pytest.mark.slow

# As a user has to: these have no types of their own.
MYPY = """
[mypy]
strict = true
[mypy-aiokafka.*,celery.*]
ignore_missing_imports = true
"""
PYRIGHT = '{"typeCheckingMode": "strict", "reportMissingTypeStubs": false, "pythonVersion": "3.11"}'


@pytest.fixture(scope="module")
def checked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with what tests/typing imports, and both checkers."""
    environment = Environment(tmp_path_factory.mktemp("checked"), wheel)
    environment.install("[kafka,confluent,rabbitmq,redis,faststream,celery,taskiq,web]", "httpx", "mypy>=1.14", "pyright[nodejs]>=1.1.390")
    return environment


@pytest.fixture
def forms(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(ROOT / "tests" / "typing", tmp_path / "forms"))
    (folder / "mypy.ini").write_text(MYPY)
    (folder / "pyrightconfig.json").write_text(PYRIGHT)
    return folder


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_public_form_has_its_type(checked: Environment, forms: Path, checker: str) -> None:
    """Both packages have their py.typed, and nothing is Any that was something in the tree; what is wrong is still an error."""
    more = ["--pythonpath", str(checked.interpreter)] if checker == "pyright" else []  # mypy looks at the Python that runs it
    done = checked.run_python("-m", checker, *more, ".", folder=forms)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_call_is_an_error(checked: Environment, forms: Path) -> None:
    """Without the comments that expect one: else a package without types would pass."""
    for file in forms.glob("*.py"):
        file.write_text("\n".join(line.partition("  # type: ignore")[0] for line in file.read_text().splitlines()))
    done = checked.run_python("-m", "mypy", ".", folder=forms)
    assert done.returncode == 1
    assert done.stdout.count("error: ") >= 25, done.stdout
