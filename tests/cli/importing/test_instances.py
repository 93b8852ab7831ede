from __future__ import annotations

import pytest

from holdgate.cli.importing.instances import Application, application
from holdgate.cli.importing.properties import Property, SpringDocument, steps


def of(*lines: str, profiles: tuple[str, ...] = ()) -> Application:
    """What a file with these properties says."""
    said = tuple(Property(steps(line.split("=")[0]), line.split("=")[1], number) for number, line in enumerate(lines, start=1))
    return application([SpringDocument(1, said)], profiles)


def values(found: Application, name: str) -> dict[str, str]:
    """What an instance has, by property."""
    instance = next(each for each in found.instances if each.name == name)
    return {key: said.text for key, said in instance.values.items()}


CB = "resilience4j.circuitbreaker"
RETRY = "resilience4j.retry"


def test_the_instance_wins_over_its_base_and_that_over_the_next() -> None:
    """A configuration may be based on another one."""
    found = of(
        f"{CB}.configs.low.failureRateThreshold=30", f"{CB}.configs.low.slidingWindowSize=5", f"{CB}.configs.mid.baseConfig=low",
        f"{CB}.configs.mid.slidingWindowSize=7", f"{CB}.instances.a.baseConfig=mid", f"{CB}.instances.a.minimumNumberOfCalls=2",
    )  # fmt: skip

    assert values(found, "a") == {"failureratethreshold": "30", "slidingwindowsize": "7", "minimumnumberofcalls": "2"}


@pytest.mark.parametrize(("module", "has_default"), [(CB, False), (RETRY, True)], ids=["circuit breaker", "retry"])
def test_the_default_is_under_a_base_but_for_circuit_breakers(module: str, has_default: bool) -> None:
    """As Resilience4j's own classes do it."""
    found = of(
        f"{module}.configs.default.x=1", f"{module}.configs.low.y=2", f"{module}.instances.a.baseConfig=low", f"{module}.instances.b.z=3"
    )

    assert values(found, "a") == ({"x": "1"} if has_default else {}) | {"y": "2"}
    assert values(found, "b") == {"x": "1", "z": "3"}


def test_a_circuit_breaker_takes_a_configuration_of_its_name() -> None:
    """In place of the default."""
    found = of(f"{CB}.configs.default.x=1", f"{CB}.configs.a.y=2", f"{CB}.instances.a.z=3")

    assert values(found, "a") == {"y": "2", "z": "3"}


@pytest.mark.parametrize("key", ["slidingWindowSize", "sliding-window-size", "SLIDING_WINDOW_SIZE", "slidingwindowsize"])
@pytest.mark.parametrize("instances", ["instances", "backends"])
def test_names_are_bound_as_spring_binds_them(key: str, instances: str) -> None:
    """In any spelling, and under the name that older versions had."""
    assert values(of(f"{CB}.{instances}.payments.{key}=5"), "payments") == {"slidingwindowsize": "5"}


def test_a_default_without_instances_is_one() -> None:
    """Its instances are made by the program."""
    assert values(of(f"{CB}.configs.default.x=1"), "default") == {"x": "1"}


def test_a_base_that_is_not_there_is_a_problem() -> None:
    """With the line that names it."""
    assert of(f"{CB}.instances.a.x=1", f"{CB}.instances.a.baseConfig=gone").problems == [
        (2, f"{CB}.instances.a.baseConfig: there is no configuration 'gone' under resilience4j.circuitbreaker.configs")
    ]


def test_a_base_that_leads_back_to_itself_is_a_problem() -> None:
    """Resilience4j would not start either."""
    found = of(f"{CB}.configs.x.baseConfig=y", f"{CB}.configs.y.baseConfig=x", f"{CB}.instances.a.baseConfig=x")

    assert found.problems == [(2, f"{CB}.configs.y.baseConfig: 'x' is based on itself")]


def test_what_belongs_to_no_instance_is_kept_apart() -> None:
    """Metrics, orders of aspects, and configurations that nobody uses; what is not Resilience4j's is not looked at."""
    found = of(
        "server.port=1", f"{CB}.circuitBreakerAspectOrder=1", f"{CB}.configs.low.x=1", "resilience4j.micrometer.timer.instances.a.x=1"
    )

    assert [said.line for said in found.others] == [2, 4, 3]
    assert found.instances == []


def test_a_later_document_wins_if_its_profile_is_active() -> None:
    """Others are left out, and named."""
    documents = [
        SpringDocument(1, (Property(steps(f"{CB}.instances.a.x"), "1", 1),)),
        SpringDocument(3, (Property(steps(f"{CB}.instances.a.x"), "2", 4),), ("prod",)),
    ]

    assert values(application(documents), "a") == {"x": "1"}
    assert application(documents).left_out == documents[1:]
    assert values(application(documents, ["eu", "prod"]), "a") == {"x": "2"}
