from __future__ import annotations

import tomllib

import pytest
from tests.cli.importing.test_instances import of

from holdgate.cli.importing.resilience4j import Nearness, imported
from holdgate.cli.importing.toml_text import written

CB = "resilience4j.circuitbreaker.instances.a."
RATE = "resilience4j.ratelimiter.instances.a."
RETRY = "resilience4j.retry.instances.a."


def become(*lines: str) -> dict[str, object]:
    """The settings that these properties become."""
    result = imported(of(*lines))
    assert result.problems == []
    return tomllib.loads(written(result, "x"))


def remarks(*lines: str) -> list[tuple[int, Nearness, str]]:
    """What is said of these properties."""
    return [(remark.line, remark.kind, remark.words) for remark in imported(of(*lines)).remarks]


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        (f"{CB}failureRateThreshold=60", {"failure_rate_threshold": "60%"}),
        (f"{CB}failureRateThreshold=33.3", {"failure_rate_threshold": "33.3%"}),
        (f"{CB}slowCallRateThreshold=80", {"slow_call_rate_threshold": "80%"}),
        (f"{CB}slowCallDurationThreshold=2s", {"slow_call_duration": "2s"}),
        (f"{CB}minimumNumberOfCalls=20", {"minimum_calls": 20}),
        (f"{CB}waitDurationInOpenState=90000", {"open_duration": "90s"}),
        (f"{CB}waitDurationInOpenState=1h", {"open_duration": "1h"}),
        (f"{CB}slidingWindowSize=50", {"window": {"calls": 50}}),
    ],
)
def test_a_setting_of_a_circuit_breaker(line: str, settings: dict[str, object]) -> None:
    """One property, one setting, in the units of a settings file."""
    assert become(line) == {"dependencies": {"a": settings}}


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        (f"{CB}ringBufferSizeInClosedState=20", {"dependencies": {"a": {"window": {"calls": 20}, "minimum_calls": 20}}}),
        (f"{CB}waitInterval=5000", {"dependencies": {"a": {"open_duration": "5s"}}}),
        ("resilience4j.bulkhead.instances.a.maxConcurrentCall=8", {"dependencies": {"a": {"limits": {"concurrency": 8}}}}),
        (f"{RETRY}maxRetryAttempts=4", {"retry": {"attempts": 4}}),
    ],
)
def test_trap_names_of_older_versions_are_known(line: str, settings: dict[str, object]) -> None:
    """A file of years ago was "misspelt" in half of its lines. A ring buffer gave no rate before it was full."""
    assert become(line) == settings


def test_of_an_old_and_a_new_name_the_new_one_counts() -> None:
    """The line of the other says so."""
    lines = (f"{RETRY}maxRetryAttempts=4", f"{RETRY}maxAttempts=3")
    assert become(*lines) == {"retry": {"attempts": 3}}
    assert remarks(*lines)[0] == (1, Nearness.NONE, f"it is an old name of {RETRY}maxAttempts, which is there too")


def test_a_rate_of_an_older_version_has_its_unit_in_its_name() -> None:
    """Milliseconds are what a bare number is anyway."""
    for period in ("limitRefreshPeriodInMillis=500", "limitRefreshPeriodInNanos=500000000"):
        limits = {"rate": 10, "per": "500ms"}
        assert become(f"{RATE}limitForPeriod=10", f"{RATE}{period}") == {"dependencies": {"a": {"limits": limits}}}


def test_a_window_of_time_counts_seconds() -> None:
    """Its size is seconds there, too."""
    assert become(f"{CB}slidingWindowType=time_based", f"{CB}slidingWindowSize=30") == {"dependencies": {"a": {"window": {"seconds": 30}}}}


def test_the_least_number_of_calls_is_never_more_than_the_window_holds() -> None:
    """As there, where the smaller one counts."""
    assert become(f"{CB}slidingWindowSize=10", f"{CB}minimumNumberOfCalls=100") == {
        "dependencies": {"a": {"window": {"calls": 10}, "minimum_calls": 10}}
    }
    assert become(f"{CB}slidingWindowType=TIME_BASED", f"{CB}slidingWindowSize=10", f"{CB}minimumNumberOfCalls=100") == {
        "dependencies": {"a": {"window": {"seconds": 10}, "minimum_calls": 100}}
    }


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        (("enableExponentialBackoff=true",), {"open_multiplier": 1.5}),
        (("enableExponentialBackoff=true", "exponentialBackoffMultiplier=2"), {"open_multiplier": 2.0}),
        (
            ("enableExponentialBackoff=true", "exponentialMaxWaitDurationInOpenState=2m"),
            {"open_multiplier": 1.5, "open_duration_max": "2m"},
        ),
        (("enableExponentialBackoff=false", "exponentialBackoffMultiplier=2"), {}),
        (("enableRandomizedWait=true",), {"open_jitter": 0.5}),
        (("enableRandomizedWait=true", "randomizedWaitFactor=0.2"), {"open_jitter": 0.2}),
        (("enableRandomizedWait=true", "randomizedWaitFactor=1"), {}),
        (("enableRandomizedWait=false",), {}),
    ],
)
def test_waits_grow_and_spread_where_they_do_there(more: tuple[str, ...], settings: dict[str, object]) -> None:
    """With what Resilience4j takes where the file says no more than that."""
    assert become(f"{CB}waitDurationInOpenState=5s", *(f"{CB}{each}" for each in more)) == {
        "dependencies": {"a": {"open_duration": "5s"} | settings}
    }


def test_a_rate_needs_its_period() -> None:
    """Without one it is 500 ns there, which limits nothing."""
    assert become(f"{RATE}limitForPeriod=10", f"{RATE}limitRefreshPeriod=500ms") == {
        "dependencies": {"a": {"limits": {"rate": 10, "per": "500ms"}}}
    }
    [(line, kind, words)] = remarks(f"{RATE}limitForPeriod=10")
    assert (line, kind) == (1, Nearness.NONE)
    assert "without a period it is 500 ns there" in words


def test_a_bulkhead_is_a_number_of_calls_in_flight() -> None:
    """That of threads as well; if an instance has both, the first counts and the other is named."""
    bulkhead, pool = (
        "resilience4j.bulkhead.instances.a.maxConcurrentCalls=8",
        "resilience4j.thread-pool-bulkhead.instances.a.maxThreadPoolSize=4",
    )

    assert become(bulkhead) == {"dependencies": {"a": {"limits": {"concurrency": 8}}}}
    assert become(pool) == {"dependencies": {"a": {"limits": {"concurrency": 4}}}}
    assert become(bulkhead, pool) == become(bulkhead)
    assert remarks(bulkhead, pool)[1] == (2, Nearness.NONE, "limits.concurrency is 8 already, by line 1")


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        (("maxAttempts=4",), {"attempts": 4}),
        (("waitDuration=500ms",), {"initial_backoff": "500ms", "multiplier": 1}),
        (
            ("waitDuration=1s", "enableExponentialBackoff=true", "exponentialBackoffMultiplier=3", "exponentialMaxWaitDuration=1m"),
            {"initial_backoff": "1s", "multiplier": 3, "max_backoff": "1m"},
        ),
        (("enableRandomizedWait=true", "randomizedWaitFactor=0.3"), {"jitter": 0.3}),
    ],
)
def test_a_retry_is_that_of_every_run(more: tuple[str, ...], settings: dict[str, object]) -> None:
    """Its wait stays the same unless it grows there."""
    assert become(*(f"{RETRY}{each}" for each in more)) == {"retry": settings}


def test_retries_that_differ_stand_in_comments() -> None:
    """Only the reader knows which run each is for. Equal ones are one."""
    lines = [f"{RETRY}maxAttempts=4", "resilience4j.retry.instances.b.maxAttempts=2"]
    result = imported(of(*lines))

    assert result.values == []
    assert "# Which run is a's?\n# [runs.NAME.retry]\n# attempts = 4  # line 1\n" in written(result, "x")
    assert all("It stands in the file as a comment" in remark.words for remark in result.remarks)
    assert become(lines[0], lines[1].replace("2", "4")) == {"retry": {"attempts": 4}}


@pytest.mark.parametrize("other", ["circuitbreaker", "bulkhead", "retry"])
def test_a_time_limit_of_one_of_several_is_no_limit_of_the_others(other: str) -> None:
    """A handler of the other would be given up after a time that nobody has set for it, and that would be a failure of what it calls."""
    limit = "resilience4j.timelimiter.instances.a.timeoutDuration=3s"
    its_own = {"circuitbreaker": "failureRateThreshold=60", "bulkhead": "maxConcurrentCalls=3", "retry": "maxAttempts=4"}[other]
    result = imported(of(limit, f"resilience4j.{other}.instances.b.{its_own}"))

    assert not any(value.place[0] == "run" for value in result.values)
    assert '# Which run is a\'s?\n# [runs.NAME]\n# timeout = "3s"  # line 1\n' in written(result, "x")
    assert become("resilience4j.timelimiter.configs.default.timeoutDuration=3s") == {"run": {"timeout": "3s"}}


def test_a_time_limit_is_that_of_a_handler() -> None:
    """And says that it is."""
    line = "resilience4j.timelimiter.instances.a.timeoutDuration=3s"

    assert become(line) == {"run": {"timeout": "3s"}}
    assert remarks(line) == [(1, Nearness.OTHER, "timeout: it is the time of a whole handler; that of a call is the client's own limit")]


def test_a_default_of_circuit_breakers_is_under_all_circuits() -> None:
    """Where the file names no instance, the program makes them."""
    assert become("resilience4j.circuitbreaker.configs.default.failureRateThreshold=60") == {"circuit": {"failure_rate_threshold": "60%"}}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"{CB}slidingWindowSize=many", "must be a whole number from 1, got 'many'"),
        (f"{CB}slidingWindowType=BY_MOON", "must be COUNT_BASED or TIME_BASED, got 'BY_MOON'"),
        (f"{CB}failureRateThreshold=600", "must be percents above 0 and up to 100, got '600'"),
        (
            f"{CB}waitDurationInOpenState=ten seconds",
            "must be a duration such as 500ms, 10s or PT1M30S, or milliseconds, got 'ten seconds'",
        ),
        (f"{CB}enableRandomizedWait=perhaps", "must be true or false, got 'perhaps'"),
    ],
)
def test_a_wrong_value_is_a_problem_of_its_line(line: str, problem: str) -> None:
    """All of them are found, and nothing is guessed."""
    result = imported(of(f"{CB}minimumNumberOfCalls=0", line))

    assert result.problems == [
        (1, f"{CB}minimumNumberOfCalls: must be a whole number from 1, got '0'"),
        (2, f"{line.split('=', maxsplit=1)[0]}: {problem}"),
    ]


def test_a_name_that_is_no_label_is_a_problem() -> None:
    """The remedy is to rename it; the line is the instance's own, and not that of what it inherits."""
    inherited = "resilience4j.circuitbreaker.configs.default.slidingWindowSize=50"
    [(line, words)] = imported(of(inherited, "resilience4j.circuitbreaker.instances.[pay/ments].failureRateThreshold=5")).problems
    assert line == 2
    assert words.startswith("resilience4j.circuitbreaker: 'pay/ments': the name of a dependency is letters, digits")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{CB}permittedNumberOfCallsInHalfOpenState=5", "half-open here is a probe"),
        (f"{CB}recordExceptions=java.io.IOException", "say it where the dependency is made, as failures="),
        (f"{CB}failurRateThreshold=5", "it is unknown here, and may be misspelt: is it failureratethreshold?"),
        (f"{CB}slidingWindowsSize=5", "it is unknown here, and may be misspelt: is it slidingwindowsize?"),
        (f"{CB}somethingElse=5", "it is unknown here, and may be misspelt"),
        (f"{CB}ringBufferSizeInHalfOpenState=5", "half-open here is a probe"),
        ("resilience4j.bulkhead.instances.a.maxWaitTime=5", "a message waits in the broker"),
        (f"{CB}failureRateThreshold=${{RATE}}", "its value comes from RATE, which has no default in the file"),
        (f"{CB}failureRateThreshold=", "it is empty"),
        (f"{CB}waitDurationInOpenState=0", "open_duration must be above 0, and keeps its default"),
        (f"{CB}slidingWindowType=COUNT_BASED", "without a slidingWindowSize the window is that of holdgate"),
        ("resilience4j.circuitbreaker.circuitBreakerAspectOrder=1", "it belongs to no instance"),
    ],
)
def test_what_has_no_equal_is_said(line: str, words: str) -> None:
    """In words, with the line; nothing is left out in silence."""
    [(number, kind, found)] = remarks(line)
    assert (number, kind) == (1, Nearness.NONE)
    assert words in found


def test_the_default_of_a_placeholder_is_taken_and_said() -> None:
    """The service's environment is not this one."""
    line = f"{CB}failureRateThreshold=${{RATE:40}}"

    assert become(line) == {"dependencies": {"a": {"failure_rate_threshold": "40%"}}}
    assert remarks(line)[0][2] == "the default of ${RATE} was taken; here an environment variable is HOLDGATE__..."
