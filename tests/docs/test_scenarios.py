"""The page of scenario files: everything has a meaning, and nothing that is gone has one."""

from __future__ import annotations

from typing import get_args

import pytest
from docs.generate.scenario_meanings import FAULTS, MEANINGS, MEMBERS
from docs.generate.scenarios import keys_table

from holdgate.config.fields import hints_of
from holdgate_lab.fleet.scenario import (
    DependencySpec,
    Fault,
    FaultKind,
    MemberEvent,
    MemberEventKind,
    QueueSpec,
    Scenario,
    TopicSpec,
)


@pytest.mark.parametrize("cls", [Scenario, TopicSpec, QueueSpec, DependencySpec, Fault, MemberEvent])
def test_every_key_has_a_meaning_and_no_other(cls: type) -> None:
    """A key that was renamed leaves no row behind."""
    named = set() if cls is Scenario else {"name"}

    assert set(MEANINGS[cls.__name__]) == set(hints_of(cls)) - named


def test_every_kind_has_a_meaning_and_no_other() -> None:
    """Of faults and of what happens to workers."""
    assert set(FAULTS) == set(get_args(FaultKind))
    assert set(MEMBERS) == set(get_args(MemberEventKind))


def test_a_row_says_what_a_key_is_and_what_it_is_when_it_is_left_out() -> None:
    """As a person writes it in TOML."""
    rows = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[1:3] for line in keys_table("Scenario").splitlines()[2:]}

    assert rows["`seconds`"] == ["a number", "must be given"]
    assert rows["`concurrency`"] == ['a whole number or "none"', '`"none"`']
    assert rows["`order`"] == ['one of "source", "key", "none"', "nothing"]
    assert rows["`topics`"] == ["tables", "nothing"]
    assert rows["`faults`"] == ["a list of tables", "nothing"]
