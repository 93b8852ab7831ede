"""docker-compose.yml and examples/Dockerfile, as far as they can be checked without an engine."""

from __future__ import annotations

import importlib.resources
import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.examples.shipped import MONITORING, ROOT, load

from holdgate import Guard

COMPOSE = load(ROOT / "docker-compose.yml")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "holdgate-examples"}
OTHERS = {name: service for name, service in SERVICES.items() if name not in OURS}
DOCKERFILE = (ROOT / "examples" / "Dockerfile").read_text(encoding="utf-8")


def schema() -> Any:
    """Compose's own, which comes with check-jsonschema."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return json.loads(folder.read_text(encoding="utf-8"))


def variables(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def program(name: str) -> str:
    return (ROOT / OURS[name]["command"][1]).read_text(encoding="utf-8")


def test_it_is_what_compose_takes() -> None:
    """By Compose's own schema, which refuses a field that is misspelt."""
    jsonschema.validate(COMPOSE, schema())
    misspelt = {**COMPOSE, "services": {"worker": {**SERVICES["worker"], "enviroment": {}}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(misspelt, schema())


def test_it_is_the_whole_picture() -> None:
    """Both brokers, a worker with what it depends on and what it is given, and both programs that watch it."""
    assert set(SERVICES) == {"kafka", "rabbitmq", "payments", "orders", "refunds", "worker", "prometheus", "grafana"}
    assert not [name for name, service in SERVICES.items() if "profiles" in service]


@pytest.mark.parametrize("name", OTHERS)
def test_an_image_of_others_is_pinned(name: str) -> None:
    """To a release: what works today works in a year."""
    assert re.fullmatch(r"[\w/.-]+:v?\d+\.\d+\.\d+[\w.-]*", OTHERS[name]["image"])


def test_the_image_of_ours_is_made_from_this_repository() -> None:
    """From a Python that is pinned as well, by a Dockerfile that is there."""
    for service in OURS.values():
        assert service["build"] == {"context": ".", "dockerfile": "examples/Dockerfile"}
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)


def test_the_dockerfile_copies_what_is_there_and_what_the_build_needs() -> None:
    """What it copies, the engine is given, and what pyproject.toml names is among it."""
    copied = [part for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for part in line.split()]
    assert not [path for path in copied if not (ROOT / path).exists()]
    given = (ROOT / "examples" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in given if line.startswith("!")} == set(copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "src"} <= set(copied)
    extras = re.search(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["project"]["optional-dependencies"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_this_machines_alone(name: str) -> None:
    """Docker publishes on every address unless it is told otherwise, and past the firewall."""
    assert not [port for port in SERVICES[name].get("ports", []) if not str(port).startswith("127.0.0.1:")]


def test_no_two_services_want_one_port() -> None:
    """The second would not start."""
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there_and_can_be_read(name: str) -> None:
    """Docker makes an empty folder of a file that is missing, and the program inside says something else."""
    for volume in SERVICES[name].get("volumes", []):
        source, _, mode = volume.split(":")
        assert mode == "ro"
        assert load(ROOT / source)


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_runs_an_example_with_variables_that_it_reads(name: str) -> None:
    """As a list, so that no shell stands between the signal and the worker. A variable that nobody reads is not in force."""
    command = OURS[name]["command"]
    assert command[0] == "python"
    assert variables(name).keys() <= set(re.findall(r'environ\.get\("(\w+)"', program(name)))


def test_the_services_find_each_other() -> None:
    """What one listens on is what the others are given, by the name of the service and the port inside."""
    worker = variables("worker")
    advertised = dict(each.split("://") for each in variables("kafka")["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert {worker["KAFKA"], variables("orders")["KAFKA"]} == {advertised["PLAINTEXT"]}
    assert advertised["HOST"] == "localhost:9092"
    assert worker["TOPIC"] == variables("orders")["TOPIC"]
    assert {worker["RABBITMQ"], variables("refunds")["RABBITMQ"]} == {"amqp://guest:guest@rabbitmq/"}
    assert worker["QUEUE"] == variables("refunds")["QUEUE"]
    assert worker["PAYMENTS_HOST"] == f"payments:{variables('payments')['PORT']}"
    assert worker["LISTEN"] == variables("payments")["LISTEN"] == "0.0.0.0"  # noqa: S104 - of the container


def test_every_listener_of_kafka_has_a_protocol_and_an_address() -> None:
    """The broker refuses to start otherwise; clients come to none that is not advertised."""
    kafka = variables("kafka")
    listeners = {each.split("://")[0] for each in kafka["KAFKA_LISTENERS"].split(",")}
    assert listeners == {each.split(":")[0] for each in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    advertised = {each.split("://")[0] for each in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")}
    assert advertised == listeners - {kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]}


def test_the_workers_page_is_where_everybody_looks_for_it() -> None:
    """The port is the same for this machine, Prometheus and the worker's own probe; the token without a variable is long enough."""
    port = variables("worker")["PORT"]
    assert SERVICES["worker"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    jobs = load(MONITORING / "prometheus.yml")["scrape_configs"]
    assert [target for job in jobs for group in job["static_configs"] for target in group["targets"]] == [f"worker:{port}"]
    assert SERVICES["worker"]["healthcheck"]["test"] == ["CMD", "holdgate", "health"]  # which asks port 9099
    assert port == "9099"
    token = re.fullmatch(r"\$\{HOLDGATE_TOKEN:-(\S{16,})\}", variables("worker")["HOLDGATE_TOKEN"])
    assert token is not None


def test_grafana_finds_its_data_and_its_dashboard() -> None:
    """The source is the service at its port, and the dashboards' folder is where the file is mounted."""
    (source,) = load(MONITORING / "grafana-datasources.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    (provider,) = load(MONITORING / "grafana-dashboards.yml")["providers"]
    assert str(Path(mounted["./examples/monitoring/grafana-dashboard.json"]).parent) == provider["options"]["path"]
    assert variables("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == mounted["./examples/monitoring/grafana-dashboard.json"]


def test_prometheus_finds_its_rules() -> None:
    """A path in its configuration is relative to it, here and in the container."""
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    configuration = Path(mounted["./examples/monitoring/prometheus.yml"])
    (rules,) = load(MONITORING / "prometheus.yml")["rule_files"]
    assert mounted[f"./examples/monitoring/{rules}"] == str(configuration.parent / rules)


def test_the_worker_waits_for_its_brokers_and_is_given_time_to_drain() -> None:
    """Who it waits for says when it is healthy, and a stop takes drain_timeout at most."""
    for service in OURS.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_started" or "healthcheck" in SERVICES[name]
    seconds = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert seconds > inspect.signature(Guard).parameters["drain_timeout"].default
