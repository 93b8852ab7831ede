"""Questions to a ledger, to made-up ones."""

from __future__ import annotations

from tests.integration.kafka import looks
from tests.ledger.ledger import Mark
from tests.ledger.story import Story


def assigned(story: Story, who: str, *partitions: int) -> Story:
    for partition in partitions:
        story.tell(who, "assigned", topic="orders", partition=partition)
    return story


def test_taken_over_is_what_was_so_at_some_moment_since_the_mark() -> None:
    """That the loser has partitions again by now changes nothing, and that it had none yet before the mark is nothing."""
    story = assigned(Story(), "winner", 0, 1)
    assigned(story, "loser", 1)
    since = Mark(story.entries[-1].at)
    assert not looks.taken_over(story.entries, "loser", since)
    assigned(story, "winner", 0)
    assert not looks.taken_over(story.entries, "loser", since)
    assigned(story, "winner", 1)
    assert looks.taken_over(story.entries, "loser", since)
    assigned(story, "loser", 0)
    assert looks.taken_over(story.entries, "loser", since)
