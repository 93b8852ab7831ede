"""What `ShareIntake.examine` says of a group and its topics before there is an outage; `holdgate doctor share` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.brokers.share.test_supervisor import Overflow

from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from tests.brokers.share.bed import Bed

    from holdgate.brokers.share import ShareDiagnosis


def examine(bed: Bed, *topics: str, longest_handler: float | None = None, **settings: Any) -> list[ShareDiagnosis]:
    """Return what an intake of these topics finds."""
    found: list[ShareDiagnosis] = []

    async def story() -> None:
        found.extend(await bed.broker.intake(*topics, **settings).examine(longest_handler=longest_handler))

    run_virtual(story())
    return found


def texts(found: list[ShareDiagnosis], about: str) -> str:
    """Return what was found about one thing."""
    return "\n".join(each.text for each in found if each.about == about)


def test_lock_and_limit_of_the_group_are_named(bed: Bed) -> None:
    """As what an outage costs a consumer without a guard, which is no defect."""
    (cost,) = [each for each in examine(bed) if each.cost]
    assert "it locks a record for 15 s and delivers it 5 times" in cost.text
    assert "loses them after 75 s" in cost.text


def test_what_is_archived_has_somewhere_to_go_or_is_a_risk(bed: Bed) -> None:
    """An overflow is enough."""
    assert "a record is archived after 5 deliveries, without an error" in texts(examine(bed), "queue")
    assert "archived" not in texts(examine(bed, overflow=Overflow()), "queue")


def test_a_handler_that_is_slower_than_the_lock_is_a_risk(bed: Bed) -> None:
    """Three quarters of it are for handlers."""
    assert "a handler may take 12 s, but 11.25 s after the poll" in texts(examine(bed, longest_handler=12), "queue")
    assert "a handler may take" not in texts(examine(bed, longest_handler=11), "queue")


def test_a_topic_that_deletes_before_an_outage_is_over_is_a_risk(bed: Bed) -> None:
    """The broker archives what retention deletes, and says so to nobody."""
    bed.broker.of_topics["orders"] = {"cleanup.policy": "delete", "retention.ms": "3600000", "retention.bytes": "1000"}
    found = texts(examine(bed), "orders")
    assert "records are kept for 1 hours" in found
    assert "retention.bytes=1000 deletes by size" in found


def test_a_topic_that_keeps_its_records_or_may_not_be_seen_is_no_risk(bed: Bed) -> None:
    """Nothing is said of what is not known."""
    assert texts(examine(bed), "orders") == ""
    bed.broker.of_topics["orders"] = {"cleanup.policy": "delete", "retention.ms": str(7 * 86_400_000), "retention.bytes": "-1"}
    assert texts(examine(bed), "orders") == ""


def test_a_topic_that_does_not_exist_is_refused(bed: Bed) -> None:
    """As a start would refuse it, and nothing else is looked at."""
    (found,) = examine(bed, "nowhere")
    assert found.refused
    assert "no topic 'nowhere'" in found.text
