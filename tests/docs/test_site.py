"""The site of the documentation: what is changed in a page, the navigation, and what its checks find."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs.site import llms, navigation
from docs.site.build import build
from docs.site.checks import faults
from docs.site.navigation import Entry, Group
from docs.site.staged import ROOT, pictures, places, staged

ON_SITE = {
    "README.md": "index.md",
    "docs/how-to/alerts.md": "how-to/alerts.md",
    "docs/reference/errors.md": "reference/errors.md",
    "docs/images/page.png": "images/page.png",
}
INDEX = """# Documentation

- [Not in a group](how-to/alerts.md)

## Guides

- [Alerts](how-to/alerts.md): when to be woken

### Deeper

- [errors](reference/errors.md) and [the front](../README.md)
"""


@pytest.mark.parametrize(
    ("path", "written", "on_the_site"),
    [
        ("docs/how-to/alerts.md", "[e](../reference/errors.md#a-b)", "[e](../reference/errors.md#a-b)"),
        ("README.md", "[a](docs/how-to/alerts.md)", "[a](how-to/alerts.md)"),
        ("docs/how-to/alerts.md", "[front](../../README.md)", "[front](../index.md)"),
        ("README.md", "![A page](docs/images/page.png)", "![A page](images/page.png)"),
        ("docs/how-to/alerts.md", "[here](#below) [away](https://example.org)", "[here](#below) [away](https://example.org)"),
        ("docs/how-to/alerts.md", "[core/circuit.py](../../src/holdgate/core/circuit.py)", "`src/holdgate/core/circuit.py`"),
        ("docs/how-to/alerts.md", "[`engine.py`](../../flow/engine.py)", "`flow/engine.py`"),
        ("docs/how-to/alerts.md", "[test_it](../../tests/test_x.py)", "test_it (`tests/test_x.py`)"),
        ("README.md", "[tests](tests/)", "`tests`"),
        ("README.md", "before\n<!-- generate: x -->\n| a |\n<!-- end -->\n", "before\n\n| a |\n\n"),
        ("README.md", "```text\n[a](docs/x.md)\n<!-- stays -->\n```", "```text\n[a](docs/x.md)\n<!-- stays -->\n```"),
        ("README.md", "```mermaid\nstateDiagram-v2\n```", "```text\nstateDiagram-v2\n```"),
    ],
    ids=[
        "page to page", "from the front page", "to the front page", "a picture", "what is no file", "a file of the code, named by its path",
        "named by its end", "named otherwise", "a folder", "comments go", "code stays", "a diagram becomes text",
    ],
)  # fmt: skip
def test_a_page_on_the_site(path: str, written: str, on_the_site: str) -> None:
    """Links lead to what the site has; what it has not is named by its path."""
    assert staged(written, path, ON_SITE) == on_the_site


def test_files_are_links_where_a_forge_was_named() -> None:
    """Its address comes before the path, with or without a slash at its end."""
    page = "[core/circuit.py](../../src/holdgate/core/circuit.py)"

    for source in ("https://forge.example/main", "https://forge.example/main/"):
        assert (
            staged(page, "docs/how-to/alerts.md", ON_SITE, source)
            == "[core/circuit.py](https://forge.example/main/src/holdgate/core/circuit.py)"
        )


def test_the_index_makes_the_navigation() -> None:
    """Headings become groups, links pages; what stands above the first heading is in none."""
    groups = navigation.groups(INDEX, ON_SITE)

    assert groups == [
        Group(
            "Guides",
            (Entry("how-to/alerts.md", "Alerts", "Alerts: when to be woken"),),
            (Group("Deeper", (Entry("reference/errors.md", "Errors", ""), Entry("index.md", "The front", ""))),),
        )
    ]
    assert '{ "Guides" = ["how-to/alerts.md", { "Deeper" = ["reference/errors.md", "index.md"] }] }' in navigation.as_toml(groups)


def test_a_link_of_the_index_to_no_page_is_an_error() -> None:
    """It would be missing from the navigation without a word."""
    with pytest.raises(KeyError, match=r"docs/how-to/gone\.md"):
        navigation.groups("## Guides\n\n- [Gone](how-to/gone.md)\n", ON_SITE)


def test_llms_txt_has_a_line_for_each_page() -> None:
    """With what the index says of it, and with the site's address where there is one."""
    groups = navigation.groups(INDEX, ON_SITE)

    assert "- [Alerts](how-to/alerts.md): when to be woken\n- [Errors](reference/errors.md)\n" in llms.listed(groups, "Short.")
    assert "- [Errors](https://docs.example/reference/errors.md)" in llms.listed(groups, "Short.", "https://docs.example/")


def test_every_page_is_in_the_navigation_once() -> None:
    """The front page apart, and the index that the navigation is made of."""
    paths = [entry.path for group in navigation.groups(navigation.INDEX.read_text(), places()) for entry in group.all_entries()]

    assert len(paths) == len(set(paths))
    assert set(paths) == set(places().values()) - {"index.md", "contents.md"}


def test_the_site_has_no_fault(site: Path) -> None:
    """No dead link or anchor, nothing fetched from elsewhere, no Markdown left over: the whole documentation."""
    assert faults(site) == []
    assert {file.relative_to(site).with_suffix(".md").as_posix() for file in site.rglob("*.html")} == {*places().values(), "404.md"}
    assert all((site / place).is_file() for place in pictures().values())


def test_the_site_has_the_text_for_programs(site: Path) -> None:
    """Each link of llms.txt leads to a file, and the longest reference is not in llms-full.txt."""
    listed = (site / "llms.txt").read_text()
    links = re.findall(r"\]\(([^)]+)\)", listed)

    assert listed.startswith("# holdgate\n\n> When a dependency is down")
    assert len(links) > 50
    assert all((site / link).is_file() for link in links)
    whole = (site / "llms-full.txt").read_text()
    assert "\n# Sort errors\n" in whole
    assert "\n# Public names\n" not in whole


def test_a_sites_own_address_is_in_its_pages(tmp_path: Path) -> None:
    """In the canonical link, in the map for search engines and in llms.txt, and nothing is fetched from there."""
    pytest.importorskip("zensical", reason="zensical is not in this environment; make setup brings it")
    url = "https://docs.example/holdgate/"
    site = build(tmp_path / "build", url=url, source="https://forge.example/main")

    assert 'rel="canonical" href="https://docs.example/holdgate/how-to/alerts.html"' in (site / "how-to" / "alerts.html").read_text()
    assert "https://docs.example/holdgate/how-to/alerts.md" in (site / "llms.txt").read_text()
    assert 'href="https://forge.example/main/src/holdgate/core/circuit.py"' in (site / "explanation" / "architecture.html").read_text()
    assert faults(site, url) == []


BROKEN = {
    '<a href="gone.html">x</a>': "gone.html leads nowhere",
    '<a href="../../../etc/passwd">x</a>': "../../../etc/passwd leads nowhere",
    '<a href="other.html#gone">x</a>': "other.html#gone: the page has no such anchor",
    '<a href="#gone">x</a>': "#gone: the page has no such anchor",
    '<img src="gone.png">': "gone.png leads nowhere",
    '<script src="https://cdn.example/a.js"></script>': "https://cdn.example/a.js is fetched from elsewhere",
    '<link rel="stylesheet" href="//fonts.example/css">': "//fonts.example/css is fetched from elsewhere",
    '<link rel="preconnect" href="https://fonts.example">': "https://fonts.example is fetched from elsewhere",
    '<pre class="mermaid">a</pre>': "an element of class mermaid makes the browser fetch a program from elsewhere",
    "<p>Three things:\n- one</p>": "Markdown is left in the text: 'Three things:\\n- one'",
    "<td>[text](page.md)</td>": "Markdown is left in the text: '[text](page.md)'",
}


@pytest.mark.parametrize("html", BROKEN, ids=list(BROKEN.values()))
def test_a_fault_is_found(tmp_path: Path, html: str) -> None:
    """Each of them in a page that is right otherwise."""
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1>')
    (tmp_path / "page.html").write_text(f"<body>{html}</body>")

    assert faults(tmp_path) == [f"page.html: {BROKEN[html]}"]


@pytest.mark.parametrize(
    "html",
    [
        '<a href="other.html#there">x</a><a href="https://example.org">x</a><a href="mailto:a@example.org">x</a>',
        '<link rel="canonical" href="https://docs.example/page.html">',
        "<p>Code: <code>[a](b)</code></p><pre>- x</pre><li>one</li>",
    ],
    ids=["links", "an address for search engines", "code"],
)
def test_what_is_right_is_no_fault(tmp_path: Path, html: str) -> None:
    """A link may lead elsewhere; only what a browser fetches by itself may not."""
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1>')
    (tmp_path / "page.html").write_text(f"<body>{html}</body>")

    assert faults(tmp_path) == []


def test_a_style_sheet_that_fetches_is_a_fault(tmp_path: Path) -> None:
    """A font from elsewhere tells that place who reads what."""
    (tmp_path / "site.css").write_text('@import "https://fonts.example/css"; a { background: url(data:x) }')

    assert faults(tmp_path) == ["site.css: a style sheet fetches from elsewhere"]


def test_the_root_is_where_the_pages_are() -> None:
    """The paths of the staged pages are read from the repository."""
    assert all((ROOT / path).is_file() for path in places())
