from __future__ import annotations

from pathlib import Path

import pytest

from holdgate.cli.importing import properties
from holdgate.cli.importing.properties import Property, read_documents, steps
from holdgate.errors import SettingsError

pytest.importorskip("yaml", reason="PyYAML is not in this environment; make setup brings it")


def read(folder: Path, text: str, name: str = "application.yml") -> list[Property]:
    """What all documents of a file with this text say."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return [said for document in read_documents(file) for said in document.said]


def test_yaml_says_each_property_with_its_line(tmp_path: Path) -> None:
    """Nested and dotted keys are one; a list is its items; a value on the next line has the line of its key."""
    said = read(tmp_path, "a.b:\n  c: 10s\n  d: [x, y]\n  e:\n    long\n'[f.g]':\n  h: true\n")

    assert said == [
        Property(("a", "b", "c"), "10s", 2),
        Property(("a", "b", "d"), "x,y", 3),
        Property(("a", "b", "e"), "long", 4),
        Property(("f.g", "h"), "true", 7),
    ]


def test_aliases_and_merges_are_followed(tmp_path: Path) -> None:
    """What stands in a mapping itself wins over what is merged into it, wherever the merge stands."""
    said = read(tmp_path, "base: &base\n  x: 1\n  y: 2\nown:\n  x: 3\n  <<: *base\n")

    assert {each.name: each.text for each in said} == {"base.x": "1", "base.y": "2", "own.x": "3", "own.y": "2"}


def test_properties_are_read_as_java_reads_them(tmp_path: Path) -> None:
    """Three separators, comments, lines that go on, escapes and brackets."""
    text = "# a comment\\\na.b = 1\n! another\na.c:2\na.d 3\na.e = one, \\\n    two\na.f\\ g=\\u0041\\n\nlist[0]=x\n  a.h=4  \n"
    said = read(tmp_path, text, "application.properties")

    assert [(each.name, each.text, each.line) for each in said] == [
        ("a.b", "1", 2), ("a.c", "2", 4), ("a.d", "3", 5), ("a.e", "one, two", 6), ("a.f g", "A", 8), ("list.0", "x", 9), ("a.h", "4", 10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yml", "x: 1\n---\nspring:\n  config:\n    activate:\n      on-profile: [prod, eu]\nx: 2\n"),
        ("a.yaml", "x: 1\n---\nspring.profiles: prod, eu\nx: 2\n"),
        ("a.properties", "x=1\n#---\nspring.config.activate.onProfile=prod,eu\nx=2\n"),
    ],
    ids=["YAML", "YAML of older versions", "properties"],
)
def test_a_document_says_for_which_profiles_it_is(tmp_path: Path, name: str, text: str) -> None:
    """Two documents in one file; the first is for all."""
    file = tmp_path / name
    file.write_text(text)
    first, second = read_documents(file)

    assert (first.profiles, second.profiles) == ((), ("prod", "eu"))
    assert second.line == 3


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yml", "a: 1\n  b: 2\n", ":2: is no YAML: mapping values are not allowed here"),
        ("a.yml", "a: 1\nb: 2\na: 3\n", ":3: 'a' stands here twice, first in line 1"),
        ("a.yml", "a: *gone\n", ":1: is no YAML: found undefined alias 'gone'"),
        ("a.yml", "? [a, b]\n: 1\n", ":1: a key must be a text, got a sequence"),
        ("a.yml", "a: \x07\n", ": is no YAML: "),
        ("a.yml", "[" * 5000, ": is nested too deeply"),
        ("a.yml", "a: &a\n  b: *a\n", ": is nested too deeply"),
        ("a.json", "{}", ": must be Spring Boot's YAML or .properties, got a name that ends in '.json'"),
    ],
    ids=["indentation", "twice", "alias", "a key", "a control character", "depth", "a loop", "another kind"],
)
def test_what_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    """Never a traceback."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, name)

    assert str(caught.value).startswith(f"{tmp_path / name}{words}")


def test_a_tag_makes_no_object(tmp_path: Path) -> None:
    """YAML can name code; here it stays a text."""
    said = read(tmp_path, f"a: !!python/object/apply:os.mkdir ['{tmp_path}/made']\nb: !!java.lang.Thread x\n")

    assert [each.text for each in said] == [f"{tmp_path}/made", "x"]
    assert not (tmp_path / "made").exists()


def test_aliases_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines can stand for a billion."""
    monkeypatch.setattr(properties, "MOST_PROPERTIES", 1000)
    levels = "\n".join(f"l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}, c: *l{n - 1}}}" for n in range(1, 40))
    with pytest.raises(SettingsError, match="more than 1000 properties: aliases may repeat without end"):
        read(tmp_path, f"l0: &l0 {{x: 1}}\n{levels}\n")


def test_aliases_of_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without a value in it adds no property, and forty lines of such are walked through a billion times."""
    monkeypatch.setattr(properties, "MOST_NODES", 1000)
    levels = "\n".join(f"l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}}}" for n in range(1, 16))
    with pytest.raises(SettingsError, match="more than 1000 tables and values: aliases may repeat without end"):
        read(tmp_path, f"l0: &l0 {{}}\n{levels}\n")


def test_a_list_that_is_repeated_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its items are joined each time: a file of four megabytes can stand for many gigabytes. One that fills the file is read."""
    text = f"l: &l [{','.join(['x'] * 400)}]\n"
    monkeypatch.setattr(properties, "MOST_BYTES", 1000)
    assert len(read(tmp_path, text)[0].text) == 799
    with pytest.raises(SettingsError, match=r":1: lists of more than 1000 letters: aliases may repeat without end"):
        read(tmp_path, f"{text}m: *l\n")


def test_a_path_has_an_end(tmp_path: Path) -> None:
    """A key of a million steps would be copied for each property under it."""
    with pytest.raises(SettingsError, match="is nested too deeply"):
        read(tmp_path, f"{'a.' * 100}a:\n  b: 1\n")
    assert len(read(tmp_path, f"{'a.' * 98}a:\n  b: 1\n")[0].path) == 100


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it."""
    with pytest.raises(SettingsError, match=r"gone\.yml: cannot be read: No such file"):
        read_documents(tmp_path / "gone.yml")
    (tmp_path / "a.yml").write_bytes(b"a: \xff")
    with pytest.raises(SettingsError, match=r"a\.yml: is no UTF-8 at byte 3"):
        read_documents(tmp_path / "a.yml")
    monkeypatch.setattr(properties, "MOST_BYTES", 3)
    with pytest.raises(SettingsError, match="which no settings file is"):
        read_documents(tmp_path / "a.yml")


def test_a_key_has_steps() -> None:
    """At dots, and not within brackets."""
    assert steps("a.b[c.d].e") == ("a", "b", "c.d", "e")
