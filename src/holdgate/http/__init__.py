"""Which exceptions of an HTTP client are the dependency's failures, which say "not so fast", and how long its server asks to wait.

`Dependency("payments", failures=http.failures, retry_after=http.retry_after)`. It imports no client: an exception is recognised by what it
carries and by the names of its classes. docs/reference/failures.md lists the clients that it was tried with.
"""

from holdgate.http.answers import status_of
from holdgate.http.exceptions import asks_to_wait, failures, throttled
from holdgate.http.limits import told
from holdgate.http.waits import retry_after

__all__ = ["asks_to_wait", "failures", "retry_after", "status_of", "throttled", "told"]
