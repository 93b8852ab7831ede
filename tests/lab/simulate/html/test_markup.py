from __future__ import annotations

from holdgate_lab.simulate.html.chart import Markup, element, joined, number


def test_text_is_escaped_and_elements_are_not() -> None:
    """A topic may be called anything."""
    assert element("p", "<b>", element("b", "a & b")) == "<p>&lt;b&gt;<b>a &amp; b</b></p>"


def test_attributes_are_escaped_and_spelt_as_html_does() -> None:
    """Quotes end nothing, underscores are hyphens, and None is left out."""
    assert element("a", class_='x" y', aria_label="z", href=None) == '<a class="x&quot; y" aria-label="z"></a>'
    assert element("svg", viewbox="0 0 1 1") == '<svg viewBox="0 0 1 1"></svg>'


def test_what_has_no_end_gets_none() -> None:
    """A closing meta would be an error."""
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_parts_are_joined_with_what_stands_between() -> None:
    """Escaped as everything else."""
    assert joined(["<", Markup("<br>")], ", ") == "&lt;, <br>"


def test_coordinates_are_short() -> None:
    """A tenth of a pixel, and no zero behind the point."""
    assert [number(value) for value in (3.0, 3.14159, -0.5)] == ["3", "3.1", "-0.5"]
    assert element("rect", x=1 / 3) == '<rect x="0.3"></rect>'
