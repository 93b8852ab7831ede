from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from tests.lab.simulate.examples import BROKEN, SCENARIO, comparison_of, outcome_of, run_of
from tests.lab.simulate.html.reader import read, texts_in, what_it_wants

from holdgate_lab.fleet.scenario import DependencySpec, TopicSpec
from holdgate_lab.simulate.comparison import Comparison, Difference
from holdgate_lab.simulate.html.page import page


def test_every_element_ends_where_it_should() -> None:
    """No browser has to guess."""
    reader = read(page(comparison_of()))
    assert {"html", "head", "body", "main", "table", "svg", "details"} <= {tag for tag, _ in reader.tags}


def test_nothing_is_fetched_from_anywhere() -> None:
    """No attribute that loads or leads somewhere, no script, and no address."""
    assert what_it_wants(page(comparison_of())) == []


def test_its_policy_allows_its_own_style_and_nothing_else() -> None:
    """The hash is that of the style as it stands there, so a browser takes it and would take no other."""
    text = page(comparison_of())
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policies = [attributes["content"] for tag, attributes in read(text).tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]


def test_every_class_has_a_style() -> None:
    """A shape without one would be black in the light and in the dark."""
    text = page(replace(comparison_of(run_of(outcome_of(violations=(BROKEN,))))))
    used = {name for _, attributes in read(text).tags for name in (attributes.get("class") or "").split()}
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0]
    # `told` is plain text with the style of all text.
    assert {name for name in used if not re.search(rf"\.{name}\b", style)} == {"told"}


def test_both_the_light_and_the_dark_have_every_colour() -> None:
    """A colour that the dark does not change is one that cannot be read there."""
    style = re.findall(r"<style>(.*?)</style>", page(comparison_of()), re.DOTALL)[0]
    light, dark = (set(re.findall(r"(--[a-z]+):", part)) for part in re.findall(r":root \{(.*?)\}", style, re.DOTALL))
    assert light == dark
    assert set(re.findall(r"var\((--[a-z]+)\)", style)) <= light


def test_it_is_text_first() -> None:
    """What came of it, then the table, then the drawings."""
    assert texts_in(read(page(comparison_of())), "h2") == ["What came of it", "Side by side", "On one time axis"]
    assert "holdgate kept to every invariant, checked at every step." in texts_in(read(page(comparison_of())), "li")


def test_each_run_has_a_drawing_and_the_same_as_a_table() -> None:
    """Who cannot see the one reads the other."""
    reader = read(page(comparison_of()))
    assert texts_in(reader, "h3") == ["holdgate", "naive"]
    assert texts_in(reader, "summary") == ["holdgate as a table", "naive as a table"]
    assert "payments: limit" in texts_in(reader, "th")
    assert [attributes["aria-label"] for tag, attributes in reader.tags if attributes.get("role") == "region"] == [
        "The same facts for every run",
        "Drawing of holdgate",
        "Samples of holdgate",
        "Drawing of naive",
        "Samples of naive",
    ]


def test_what_is_broken_stands_out() -> None:
    """As a word, and in weight."""
    reader = read(page(comparison_of(run_of(outcome_of(violations=(BROKEN,))))))
    assert ("li", {"class": "broken"}) in reader.tags


def test_the_settings_that_differ_are_told() -> None:
    """Before the figures that come of them."""
    comparison = replace(comparison_of(), differences=(("old.toml", (Difference(("workers",), 2, 3),)),))
    reader = read(page(comparison))
    assert texts_in(reader, "h2")[1] == "Which settings differ"
    assert "old.toml has workers = 3 instead of 2" in texts_in(reader, "li")


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", '" onload="x', "a & b"])
def test_a_name_is_only_ever_text(nasty: str) -> None:
    """Names come from a file that somebody else may have written."""
    scenario = replace(
        SCENARIO,
        name=nasty,
        description=nasty,
        topics=(TopicSpec(name=nasty, needs=(nasty,)),),
        dependencies=(DependencySpec(name=nasty),),
        faults=(),
    )
    samples = tuple(
        replace(sample, dependencies={nasty: sample.dependencies["payments"]}, streams={nasty: sample.streams["orders"]})
        for sample in outcome_of().samples
    )
    run = run_of(replace(outcome_of(violations=(replace(BROKEN, words=nasty),)), samples=samples), label=nasty, scenario=scenario)
    reader = read(page(Comparison(scenario, 0, (run,))))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert nasty in texts_in(reader, "h1")


def test_without_a_run_there_is_a_page_that_says_so() -> None:
    """Interrupted in the first one."""
    reader = read(page(Comparison(SCENARIO, 0, (), interrupted=True)))
    assert texts_in(reader, "h2") == ["What came of it"]
    assert any("interrupted" in text for text in texts_in(reader, "p"))
