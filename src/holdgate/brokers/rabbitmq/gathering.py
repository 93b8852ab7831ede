"""Batches: what has come over the wire becomes one when the wire pauses, and not each bunch that the client reads.

The client takes about three messages at a time out of its socket. Handed out as they come, batches in front of a full queue would be of
three. So they wait until a batch is full, or the window is, or nothing has come for a moment; with a trickle no longer than a few moments.
"""

from __future__ import annotations

from holdgate.brokers.rabbitmq.channels import QueueChannel

# Between two bunches lies less than half a millisecond, but a queue may fill a window in two steps with 2 to 4 ms between them.
_PAUSE = 0.005
# As long as what is finished may wait for its ack (acks.py): a tenth of what anybody notices.
_AT_MOST = 0.02


def ripe_at(channel: QueueChannel, most: int) -> float:
    """From when on what has arrived on this channel, at least one message, is a batch of at most `most`; on the event loop's clock."""
    if len(channel.arrived) >= most or len(channel.unsettled) >= channel.prefetch:
        return channel.last_arrival
    return min(channel.last_arrival + _PAUSE, channel.arrived[0].arrived_at + _AT_MOST)
