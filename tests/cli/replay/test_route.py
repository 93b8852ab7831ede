from __future__ import annotations

from holdgate.cli.replay.rabbitmq import headers_of
from holdgate.cli.replay.route import Survey, replayed


def test_a_survey_counts_kinds_ages_and_earlier_replays() -> None:
    """From the headers as the broker has them; a letter of somebody else's is of an unknown kind."""
    survey = Survey(3)
    survey.saw([("holdgate-source", b"orders"), ("holdgate-exception", b"KeyError"), ("holdgate-replays", b"2")], 20.0)
    survey.saw([("holdgate-source", b"orders"), ("holdgate-exception", b"KeyError")], 10.0)
    survey.saw([], 30.0)

    assert survey.kinds == {("orders", "KeyError"): 2, ("?", "?"): 1}
    assert survey.replayed == {2: 1, 0: 2}
    assert (survey.looked_at, survey.oldest, survey.newest) == (3, 10.0, 30.0)


def test_what_goes_back_has_its_own_headers_and_the_number_of_replays() -> None:
    """Once, and none of those that tell of its death."""
    headers = [("trace", b"1"), ("holdgate-replays", b"1"), ("holdgate-source", b"orders"), ("trace", b"2")]

    assert replayed(headers, b"2") == [("trace", b"1"), ("trace", b"2"), ("holdgate-replays", b"2")]


def test_what_rabbitmq_wrote_about_an_earlier_life_stays_behind() -> None:
    """The next queue counts its own deliveries and deaths."""
    headers = {
        "trace": "t",
        "x-death": [{"count": 1}],
        "x-first-death-queue": "orders",
        "x-last-death-reason": "rejected",
        "x-delivery-count": 3,
        "x-tenant": "t1",
        "holdgate-attempts": "5",
    }

    assert headers_of(headers) == {"trace": "t", "x-tenant": "t1", "holdgate-replays": "1"}
