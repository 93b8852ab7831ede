from __future__ import annotations

import re
from importlib import resources

import pytest
from tests.control.served import TOKEN, ask, served

from holdgate.control import Control
from holdgate.control.site import FILES


async def test_the_page_and_all_that_it_names_are_there() -> None:
    """Each with its type, which the browser must not guess, and with the policy that lets nothing else in."""
    async with served() as stage:
        start = await ask(stage.control, "/")
        assert start.status == 200
        assert start.headers["content-type"] == "text/html; charset=utf-8"
        assert start.headers["content-security-policy"].startswith("default-src 'self';")
        for name, kind in FILES.items():
            file = await ask(stage.control, f"/page/{name}")
            assert (file.status, file.headers["content-type"]) == (200, kind)
            assert file.headers["x-content-type-options"] == "nosniff"
            assert file.body


def test_no_file_of_the_folder_is_left_out() -> None:
    """What is not in the list would be in the wheel and never be served."""
    there = {file.name for file in resources.files("holdgate.control").joinpath("page").iterdir()}
    assert there == {*FILES, "index.html"}


@pytest.mark.parametrize("path", ["/page/", "/page/../site.py", "/page/%2e%2e/site.py", "/page/main.js/", "/page//main.js", "/index.html"])
async def test_no_other_path_reaches_a_file(path: str) -> None:
    """A path is looked up in a list, and never in a file system."""
    async with served() as stage:
        assert (await ask(stage.control, path)).status == 404


async def test_the_page_needs_no_token_for_reading() -> None:
    """It has nothing of the worker in it; what it shows, it asks for with one."""
    async with served(Control(port=0, read_token="read-" + TOKEN)) as stage:
        assert (await ask(stage.control, "/")).status == 200
        assert (await ask(stage.control, "/peers")).status == 401


def test_no_text_becomes_markup() -> None:
    """The page has no way from a text to markup, no inline script or style, and no address of anybody else."""
    folder = resources.files("holdgate.control").joinpath("page")
    for file in folder.iterdir():
        text = file.read_text()
        assert not re.search(r"(inner|outer|insertAdjacent)HTML|document\.write|eval\(|new Function|srcdoc|DOMParser", text), file.name
        assert not re.search(r"style=|\son\w+=|<script>|<style|javascript:", text), file.name
        assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}, file.name
