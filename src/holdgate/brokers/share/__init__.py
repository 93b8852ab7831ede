"""Kafka's queues (share groups, KIP-932) through confluent-kafka's ShareConsumer: the intake, its deliveries, and late accepts.

That consumer is a preview, whose names and behaviour may change with each minor version. So only the versions that were run are accepted.
"""

from __future__ import annotations

from importlib import metadata as _metadata

from holdgate.errors import MissingExtra

try:
    import confluent_kafka as _confluent_kafka
except ImportError as error:
    raise MissingExtra("confluent-kafka is not installed: pip install 'holdgate[confluent]'") from error

# The minor version that was run. The pin of the extra `confluent` in pyproject.toml is the same.
_RUN = (2, 16)

_version = _metadata.version("confluent-kafka")  # what confluent-kafka says itself is a str here, and a tuple in older ones
_WHY = f"needs confluent-kafka {_RUN[0]}.{_RUN[1]}, got {_version}, whose ShareConsumer, a preview, may differ"
if tuple(int(part) for part in _version.split(".")[:2]) != _RUN:
    raise MissingExtra(f"ShareIntake {_WHY}: pip install 'holdgate[confluent]'")

from holdgate.brokers.share.hand import ShareDelivery  # noqa: E402 - another version may lack the names that these files import
from holdgate.brokers.share.intake import ShareIntake  # noqa: E402
from holdgate.brokers.share.supervisor import LateAccept  # noqa: E402
from holdgate.brokers.share.terms import ShareDiagnosis, ShareTerms  # noqa: E402

del _RUN, _WHY, _confluent_kafka, _metadata, _version

__all__ = ["LateAccept", "ShareDelivery", "ShareDiagnosis", "ShareIntake", "ShareTerms"]
