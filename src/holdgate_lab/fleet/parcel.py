"""One delivery of a simulated message, and how one attempt at it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.flow.message import Delivery, Source
from holdgate.testing.memory.message import Message
from holdgate_lab.fleet.traffic import Facts

if TYPE_CHECKING:
    from holdgate.testing.memory.rabbitmq_model import Channel
    from holdgate_lab.fleet.source_records import AssignmentRecord
    from holdgate_lab.fleet.topic_reader import Assigned


class Parcel(Delivery[Message]):
    """A message as a simulated worker got it: by an assignment of its partition, or on a channel under a delivery tag."""

    __slots__ = ("assigned", "channel", "facts", "is_finished", "record", "tag")

    def __init__(
        self,
        source: Source,
        message: Message,
        facts: Facts,
        *,
        assigned: Assigned | None = None,
        channel: Channel | None = None,
        tag: int = 0,
        redelivered: bool | None = None,
    ) -> None:
        super().__init__(source, message, redelivered)
        self.facts = facts
        self.assigned = assigned
        self.channel = channel
        self.tag = tag
        self.record: AssignmentRecord | None = None if assigned is None else assigned.record
        self.is_finished = False  # its work was done, or its dead letter confirmed, whoever knows of it

    @property
    def position(self) -> int:
        """The offset, or the delivery tag."""
        return self.message.position if self.channel is None else self.tag

    @property
    def place_in_source(self) -> int:
        """The offset, or the number in the queue, which no other message ever has."""
        return self.message.position
