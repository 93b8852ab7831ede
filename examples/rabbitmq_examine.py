"""Look at a worker's queue before an outage does: what would hurt, and the remedy. Nothing is consumed.

    python examples/rabbitmq_examine.py

RABBITMQ and QUEUE say where it is, MANAGEMENT where the management API is. The exit code is 1 when no worker would start.
"""

# region imports
import asyncio
import os
import sys

from holdgate.brokers.rabbitmq import RabbitMQIntake

# endregion
RABBITMQ = os.environ.get("RABBITMQ", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "orders")
MANAGEMENT = os.environ.get("MANAGEMENT")  # http://user:password@host:15672


# region examine
async def examine() -> bool:
    intake = RabbitMQIntake(RABBITMQ, QUEUE, management_url=MANAGEMENT)
    diagnoses = await intake.examine(longest_handler=30)
    for diagnosis in diagnoses:
        print(f"{diagnosis.about}, {'refused' if diagnosis.refused else 'warning'}: {diagnosis.text}")
    return not any(diagnosis.refused for diagnosis in diagnoses)


# endregion

sys.exit(0 if asyncio.run(examine()) else 1)
