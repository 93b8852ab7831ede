"""From the pages of the repository to a folder of HTML."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from docs.site import llms, navigation
from docs.site.staged import places, stage

_HERE = Path(__file__).parent
OWN = ("site.css", "site.js")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# A table's corner without a word in it is no heading of anything.
_EMPTY_HEADING = re.compile(r"<th(?P<style>[^>]*)></th>")


def build(into: Path, *, url: str = "", source: str | None = None) -> Path:
    """Stage the pages in this folder, build them, and return the folder of the site. `url` is the address it will have, "" for none;
    `source` that of the repository's files on a forge, None for none. Raises RuntimeError for what zensical warns of, and where it is
    missing."""
    shutil.rmtree(into, ignore_errors=True)
    stage(into / "pages", source)
    for name in OWN:
        shutil.copyfile(_HERE / name, into / "pages" / name)
    groups = navigation.groups(navigation.INDEX.read_text(), places())
    settings = _settings(groups, url)
    (into / "zensical.toml").write_text(settings)
    _zensical(into)
    for page in (into / "site").rglob("*.html"):
        page.write_text(_EMPTY_HEADING.sub(r"<td\g<style>></td>", page.read_text()))
    summary = tomllib.loads(settings)["project"]["site_description"]
    llms.write(into / "pages", into / "site", groups, summary, url)
    return into / "site"


def _settings(groups: list[navigation.Group], url: str) -> str:
    text = (_HERE / "zensical.toml").read_text()
    return text.replace("$site_url", f'site_url = "{url}"' if url else "").replace("$nav", navigation.as_toml(groups))


def _zensical(into: Path) -> None:
    """Run it in the folder with its settings: its cache is put there, too. A warning is an error."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    run = subprocess.run(command, cwd=into, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    said = _COLOUR.sub("", run.stdout + run.stderr).partition("Traceback")[0]
    if "No module named zensical" in run.stderr:
        raise RuntimeError("zensical is missing: `make setup` installs it, or `pip install --group docs`")
    if run.returncode:
        raise RuntimeError(said)
