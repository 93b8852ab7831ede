"""One more slip (slips.py): a name that is looked for in the wrong package.

`from holdgate import KafkaIntake` is what many write first. It cannot work: `import holdgate` brings no client library, so what needs one
has a module of its own. Python would say that it cannot import the name, and leave the reader to search for it.

The table below is read for an error alone, and imports nothing. tests/test_elsewhere.py compares it with the modules.
"""

from __future__ import annotations

# By module, what somebody may look for further up.
HOMES = {
    "holdgate.brokers.kafka": ("KafkaDeadLetters", "KafkaDelivery", "KafkaFleetLog", "KafkaIntake", "RecordsLost"),
    "holdgate.brokers.confluent": ("ConfluentDeadLetters", "ConfluentDelivery", "ConfluentIntake"),
    "holdgate.brokers.rabbitmq": (
        "DeliveryLimitNear",
        "Diagnosis",
        "RabbitMQDeadLetters",
        "RabbitMQDelivery",
        "RabbitMQFleetLog",
        "RabbitMQIntake",
    ),
    "holdgate.brokers.share": ("LateAccept", "ShareDelivery", "ShareDiagnosis", "ShareIntake", "ShareTerms"),
    "holdgate.brokers.redis": ("RedisFleetLog",),
    "holdgate.integrations.faststream": ("FastStreamGuard",),
    "holdgate.integrations.celery": ("CeleryGuard",),
    "holdgate.integrations.taskiq": ("GuardReceiver", "TaskiqGuard"),
    "holdgate.integrations.asgi": ("consuming",),
    "holdgate.control": ("Control",),
    "holdgate.errors": (
        "AlreadySettled",
        "CommandError",
        "GuardClosed",
        "IntakeError",
        "MissingExtra",
        "NeedsError",
        "SettingsError",
        "WaitedTooLong",
    ),
    "holdgate.testing": ("MemoryBroker", "MemoryDeadLetters", "MemoryIntake", "Outage", "in_virtual_time", "rehearse", "rehearse_async"),
}
_HOME_OF = {name: home for home, names in HOMES.items() for name in names}


def refuse(module: str, name: str) -> Exception:
    """Return the error for a name that a package does not have: of the import that was meant, where it is known.

    `from package import name` hides an AttributeError and its text, so what has a remedy to say is an ImportError.
    """
    home = _HOME_OF.get(name)
    if home is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return ImportError(f"cannot import name {name!r} from {module!r}: write `from {home} import {name}`", name=name)
