"""Which exceptions of an HTTP client are the dependency's failures, and when its server wants to be asked again.

`Dependency("payments", failures=http.failures, retry_after=http.retry_after)`. It imports no client: an exception is read by what it
carries and by the names of its classes. Which clients it was tried with: docs/reference/failures.md.
"""

from holdgate.http.exceptions import failures
from holdgate.http.waits import retry_after

__all__ = ["failures", "retry_after"]
