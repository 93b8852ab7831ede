"""A script that charges a file of orders, one a line, and waits while the payment service is down.

    pip install '.'
    python examples/patient_script.py orders.txt

PAYMENTS_HOST says where the service is.
"""

# region script
import os
import sys
from pathlib import Path
from urllib.request import urlopen

from holdgate import Dependency, Guard, http

PAYMENTS_HOST = os.environ.get("PAYMENTS_HOST", "localhost:8080")

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
guard = Guard()


@guard.patient(needs=[payments])
def charge(order: str) -> None:
    urlopen(f"http://{PAYMENTS_HOST}/charges", order.encode(), timeout=5).close()


for line in Path(sys.argv[1]).read_text().splitlines():
    charge(line)
# endregion
