"""Which exceptions of AWS clients are the service's failures, and how long it asks to wait: botocore, boto3, aiobotocore, aioboto3.

The answer of a ClientError is a dict with the service's own code and the HTTP status. What botocore's standard retries take for throttling
or for passing trouble is a failure here as well (https://docs.aws.amazon.com/boto3/latest/guide/retries.html).

A batch call that succeeds in part raises nothing: SQS's `Failed`, DynamoDB's `UnprocessedItems` and Kinesis' `FailedRecordCount` are in the
result, for `Dependency(result_failures=...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from holdgate import network
from holdgate.http.answers import by_name
from holdgate.http.exceptions import is_not_now
from holdgate.http.limits import told_by
from holdgate.http.waits import wait_of
from holdgate.network import attribute, known_as
from holdgate.signs import recognised_by
from holdgate.slips import passed_uncalled
from holdgate.told import Told

# No answer, or no credentials to ask with: the metadata service or the token's issuer did not answer, and every message meets it.
_is_no_answer = known_as(
    {
        "botocore": {
            *("HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseStreamingError"),
            *("NoCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError", "TokenRetrievalError"),
        }
    }
)

_TOO_MANY_REQUESTS = 429
_THROTTLED = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "TooManyRequestsException"),
        *("ProvisionedThroughputExceededException", "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException"),
        *("RequestThrottled", "SlowDown", "PriorRequestNotComplete", "EC2ThrottledException", "TransactionInProgressException"),
        # SQS's and KMS's own.
        *("OverLimit", "KMSThrottlingException"),
    }
)
# A transaction of DynamoDB is refused as a whole, and each of its items has a reason. A conflict is none of these: nobody is too fast.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_CANCELED = "TransactionCanceledException"
_THROTTLED_ITEM = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded"})
_NO_REASON = "None"
_TROUBLE = frozenset(
    {
        *(
            "RequestTimeout",
            "RequestTimeoutException",
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalServerException",
        ),
        *("ServiceUnavailable", "ServiceUnavailableException"),
        # Temporary credentials that were not renewed: every message meets it, none of them has caused it.
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired"),
    }
)


@passed_uncalled("failures=aws.failures")
def failures(error: BaseException) -> bool:
    """Return whether an AWS client's exception is the service's failure: no answer, 408, 429, 5xx, its throttling codes, credentials that
    ran out.

    A failed condition, a missing key or queue, a bad parameter, a denied access are the message's own.
    """
    response = _response(error)
    if response is None:
        return network.failures(error) or _is_no_answer(type(error))
    code = _part(response, "Error").get("Code")
    if code in _THROTTLED or code in _TROUBLE or _is_throttled_transaction(response):
        return True
    status = _part(response, "ResponseMetadata").get("HTTPStatusCode")
    return isinstance(status, int) and is_not_now(status)


@recognised_by("response", "last_response")
@passed_uncalled("throttled=aws.throttled")
def throttled(error: object) -> bool:
    """Return whether an AWS client's exception says "not so fast": the codes that botocore takes for throttling, or 429.

    A Dependency without `throttled` asks this by itself.
    """
    response = _response(error)
    if response is None:
        return False
    status = _part(response, "ResponseMetadata").get("HTTPStatusCode")
    code = _part(response, "Error").get("Code")
    return code in _THROTTLED or status == _TOO_MANY_REQUESTS or _is_throttled_transaction(response)


def _is_throttled_transaction(response: Mapping[str, Any]) -> bool:
    """Return whether throttling alone has canceled a transaction. A failed condition beside it is the message's own, and stays so."""
    reasons = response.get("CancellationReasons")
    if _part(response, "Error").get("Code") != _CANCELED or not isinstance(reasons, list):
        return False
    codes = {_part({"each": each}, "each").get("Code", _NO_REASON) for each in cast("list[object]", reasons)} - {_NO_REASON}
    return bool(codes) and codes <= _THROTTLED_ITEM


@passed_uncalled("told=aws.told")
def told(error: object) -> Told | None:
    """Return what an AWS client's exception says of its limit, from the headers as in `holdgate.http`. None means nothing."""
    metadata = _part(_response(error) or {}, "ResponseMetadata")
    headers = by_name(metadata.get("HTTPHeaders"))
    return told_by(headers, _TOO_MANY_REQUESTS if throttled(error) else None) if headers else None


@passed_uncalled("retry_after=aws.retry_after")
def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the service asks to wait, from `x-amz-retry-after` or Retry-After as in `holdgate.http`.

    None means that it does not say.
    """
    response = _response(error)
    if response is None:
        return None
    metadata = _part(response, "ResponseMetadata")
    status = metadata.get("HTTPStatusCode")
    return wait_of(by_name(metadata.get("HTTPHeaders")), status if isinstance(status, int) else None)


def _response(error: object) -> Mapping[str, Any] | None:
    response = attribute(error, "response")
    # A waiter that gave up has the answer in `last_response`. Not `or`: to ask a requests.Response whether it is true raises an exception
    # in it for each status of an error.
    if response is None or (isinstance(response, Mapping) and not response):
        response = attribute(error, "last_response")
    return cast("Mapping[str, Any]", response) if isinstance(response, Mapping) else None


def _part(response: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = response.get(name)
    return cast("Mapping[str, Any]", part) if isinstance(part, Mapping) else {}
