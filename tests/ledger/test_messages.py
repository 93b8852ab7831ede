from __future__ import annotations

from typing import Any

from tests.ledger.check import Expected, violations
from tests.ledger.messages import uncommitted
from tests.ledger.story import Story


def told(story: Story, **expected: Any) -> str:
    return "\n".join(violations(story.entries, Expected(**expected)))


def good_run() -> Story:
    """Three messages, processed and committed by one worker."""
    story = Story().produced(0, 1, 2).source("w1", "assigned").done(0, 1).at("w1", "committed", 2)
    return story.done(2).at("w1", "committed", 3).at("test", "observed", 3).source("w1", "revoked")


def test_a_good_run_has_no_violation() -> None:
    """Nothing is found where nothing is wrong."""
    assert told(good_run(), committed={("orders", 0): 3}, assignments=1, wasted=0) == ""


def test_a_message_that_nobody_processed_is_lost() -> None:
    """One produced and not processed is told with its place."""
    assert "lost: 1 messages produced and never processed, first [('orders', 0, 3)]" in told(good_run().produced(3))


def test_a_dead_letter_is_not_lost() -> None:
    """A poison message that is in the dead letters is done with."""
    story = good_run().produced(3).source("w1", "assigned").at("w1", "called", 3).at("w1", "failed", 3).at("w1", "dead_letter", 3)
    assert told(story, poison=[("orders", 0, 3)]) == ""


def test_a_run_that_ends_in_the_middle_has_lost_nothing() -> None:
    """With `complete=False` what is not processed may still wait at the broker."""
    assert told(good_run().produced(3), complete=False) == ""


def test_what_waits_must_not_be_committed_at_the_end() -> None:
    """Then the broker's committed offset must not be past it."""
    found = told(good_run().produced(3), complete=False, committed={("orders", 0): 4})
    assert "commit past unprocessed: ('orders', 0) committed at the end up to 4, not processed [3]" in found


def test_a_commit_before_the_processing_is_found() -> None:
    """A commit is wrong at its own time, though the message is processed later."""
    story = Story().produced(0, 1).source("w1", "assigned").done(0).at("w1", "committed", 2).done(1)
    assert "committed by w1 up to 2, not processed [1]" in told(story)


def test_a_commit_seen_at_the_broker_counts_too() -> None:
    """What the test saw at the broker is held to the same, whoever committed it."""
    story = Story().produced(0, 1).source("w1", "assigned").done(0).at("test", "observed", 2).done(1)
    assert "observed by test up to 2, not processed [1]" in told(story)


def test_an_ack_before_the_processing_is_found() -> None:
    """An ack is wrong at its own time, though the message is processed later; one after it, or of a dead letter, is right."""
    early = Story().produced(0).at("w1", "acked", 0).done(0)
    late = Story().produced(0, 1).done(0).at("w1", "acked", 0).at("w1", "dead_letter", 1).at("w1", "acked", 1)
    assert "ack of unprocessed: w1 acked ('orders', 0, 0)" in told(early)
    assert told(late, poison=[("orders", 0, 1)]) == ""


def test_a_commit_past_a_gap_is_right() -> None:
    """Offsets that nobody produced (transactions, compaction) need no processing."""
    story = Story().produced(0, 5).source("w1", "assigned").done(0, 5).at("w1", "committed", 6)
    assert told(story, committed={("orders", 0): 6}) == ""


def test_a_commit_after_a_failed_handler_is_found() -> None:
    """A handler that ended badly has not processed its message."""
    story = Story().produced(0).source("w1", "assigned").at("w1", "called", 0).at("w1", "failed", 0).at("w1", "committed", 1).done(0)
    assert "committed by w1 up to 1, not processed [0]" in told(story)


def test_a_commit_that_goes_back_is_found() -> None:
    """Within one assignment commits only rise."""
    assert "commit rewound: w1 committed ('orders', 0) at 3 and then at 2" in told(_before_revoked(2))


def test_the_same_commit_again_is_right() -> None:
    """A worker may repeat itself, and the test may look twice."""
    assert told(_before_revoked(3).at("test", "observed", 3).at("test", "observed", 3)) == ""


def _before_revoked(offset: int) -> Story:
    return Story().produced(0, 1, 2).source("w1", "assigned").done(0, 1, 2).at("w1", "committed", 3).at("w1", "committed", offset)


def test_a_commit_after_the_revocation_is_found() -> None:
    """A partition given up is somebody else's."""
    assert "commit after revocation: w1 committed ('orders', 0) at 3" in told(good_run().at("w1", "committed", 3))


def test_a_new_assignment_may_commit_from_lower_on() -> None:
    """After a revocation and an assignment a worker begins anew, at what the broker has."""
    story = good_run().source("w1", "assigned").at("w1", "committed", 2)
    assert told(story) == ""


def test_a_zombie_that_rewinds_the_group_is_found() -> None:
    """What the test sees committed at the broker never falls."""
    rewound = good_run().at("test", "observed", 1)
    found = "commit rewound: ('orders', 0) went from 3 back to 1 at the broker"
    assert found in told(rewound)
    assert found in told(rewound, takeovers=True), "nothing shows that it was a takeover"
    assert found.replace("to 1", "to 2") in told(rewound.at("test", "observed", 2), takeovers=True), "the next look is below, too"
    covered_up = good_run().at("test", "observed", 1).at("w1", "committed", 3).at("test", "observed", 3)
    assert found in told(covered_up, takeovers=True), "there was a commit in between"


def test_a_coordinator_that_has_just_taken_over_may_be_behind_for_one_look() -> None:
    """It answers with what was there a moment before, and then with what is there."""
    behind = good_run().at("test", "observed", 1).at("test", "observed", 3)
    assert told(behind, takeovers=True) == ""
    assert "commit rewound" in told(behind), "where no coordinator can move"


def test_a_message_processed_again_is_a_duplicate() -> None:
    """Without a crash or a rebalance none is allowed."""
    assert "duplicates: 1, allowed 0, first [('orders', 0, 2)]" in told(good_run().done(2))


def test_duplicates_up_to_the_number_allowed_are_right() -> None:
    """After a crash what was in hand comes again; each further time counts."""
    story = good_run().done(2, who="w2").done(2, who="w3")
    assert told(story, duplicates=2) == ""
    assert "duplicates: 2, allowed 1" in told(story, duplicates=1)


def test_a_call_before_its_predecessor_is_done_is_out_of_order() -> None:
    """The order is that of the partition, over all workers: one still running in another worker counts as not done."""
    story = Story().produced(0, 1).at("w1", "called", 0).at("w2", "called", 1).at("w1", "processed", 0).at("w2", "processed", 1)
    assert "out of order: w2 called ('orders', 0, 1) before [0] were done" in told(story)


def test_order_by_key_looks_at_one_key_alone() -> None:
    """Another key's message may be overtaken, one's own may not."""
    story = Story()
    for offset, key in enumerate(["a", "b", "b"]):
        story.at("test", "produced", offset, key=key)
    story.at("w1", "called", 0)
    assert told(story.at("w1", "called", 1), order="key", complete=False) == ""
    assert "called ('orders', 0, 2) before [1]" in told(story.at("w1", "called", 2), order="key", complete=False)


def test_without_an_order_nothing_is_out_of_it() -> None:
    """`order=None` is for handlers that promised none."""
    story = Story().produced(0, 1).done(1, 0)
    assert told(story, order=None) == ""
    assert "out of order" in told(story)


def test_a_good_message_in_the_dead_letters_is_found() -> None:
    """An outage must not cost a dead letter."""
    found = told(Story().produced(0).at("w1", "called", 0).at("w1", "dead_letter", 0))
    assert "dead letters: 1 good messages, first [('orders', 0, 0)]" in found


def test_a_poison_message_that_is_not_there_is_found() -> None:
    """The dead letters are the poison messages, exactly."""
    assert "dead letters: 1 poison messages are missing, first [('orders', 0, 1)]" in told(good_run(), poison=[("orders", 0, 1)])


def test_a_ledger_with_a_hole_is_found() -> None:
    """A processed message that nobody produced says that the run was not written down whole."""
    assert "ledger: processed and never produced, first [('orders', 0, 9)]" in told(good_run().done(9))


def test_a_handler_in_a_former_owner_is_found() -> None:
    """Once the partition was assigned to another worker, or given up, nothing starts in the old one, until it is back."""
    taken = Story().produced(0).source("w1", "assigned").source("w2", "assigned").at("w1", "called", 0)
    assert told(taken, complete=False) == "called by a former owner: w1 called ('orders', 0, 0), lost 1.000 s before"
    given = Story().produced(0).source("w1", "assigned").source("w1", "revoked").at("w1", "called", 0)
    assert "called by a former owner" in told(given, complete=False)
    back = Story().produced(0).source("w1", "assigned").source("w2", "assigned").source("w1", "assigned").at("w1", "called", 0)
    assert told(back, complete=False) == ""


def test_what_a_crash_makes_again_is_counted() -> None:
    """Processed by that worker, at or above its last commit."""
    story = Story().done(0, 1).at("w1", "committed", 1).done(2).done(3, who="w2")
    assert uncommitted(story.entries, "w1") == 2
    assert uncommitted(story.entries, "w2") == 1


def test_what_retention_deleted_is_not_lost() -> None:
    """The broker took it away: nobody can process it, and commits may pass it."""
    story = good_run().produced(3, 4).at("test", "deleted", 3).source("w1", "assigned").done(4).at("w1", "committed", 5)
    assert told(story) == ""
