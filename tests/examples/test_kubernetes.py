"""The manifests for Kubernetes and KEDA: their schemas, and that they fit the examples, the probes and the drain."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from tests.cli.runner import invoke
from tests.examples.shipped import KUBERNETES, ROOT, load, scaled_by

from holdgate import Guard
from holdgate.control.access import Access
from holdgate.control.app import Desk
from holdgate.control.feed import EventFeed
from holdgate.control.peers import Peers

WORKERS = ["kafka-worker.yml", "rabbitmq-worker.yml"]
PROBES = {"startupProbe": ("/startupz", "--started"), "livenessProbe": ("/livez", "--live"), "readinessProbe": ("/readyz", "--ready")}
# What a drain takes beyond drain_timeout at most (docs/how-to/stop-a-worker.md), and the broker's goodbye.
BEYOND = 4 + 2


def container(name: str) -> Any:
    return load(KUBERNETES / name)["spec"]["template"]["spec"]["containers"][0]


def variables(name: str) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container(name)["env"]}


@pytest.mark.parametrize("name", WORKERS)
def test_a_manifest_is_what_kubernetes_takes(name: str) -> None:
    """By the schemas of its newest version, strictly: a field that is misspelt is refused."""
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(load(KUBERNETES / name), newest, strict=True)
    misspelt = load(KUBERNETES / name)
    misspelt["spec"]["template"]["spec"]["terminationGracePeriod"] = 35
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, newest, strict=True)


@pytest.mark.parametrize("name", WORKERS)
def test_a_deployment_finds_its_own_pods(name: str) -> None:
    """The selector is what the template has as labels."""
    spec = load(KUBERNETES / name)["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", WORKERS)
def test_a_pod_has_time_for_its_drain(name: str) -> None:
    """Kubernetes kills after the grace period: what drain_timeout is without a setting must fit, and all that may come on top."""
    drain = inspect.signature(Guard).parameters["drain_timeout"].default
    assert load(KUBERNETES / name)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + BEYOND


@pytest.mark.parametrize("name", WORKERS)
def test_a_pod_runs_an_example_with_variables_that_it_reads(name: str) -> None:
    """A variable that nobody reads is a setting that is not in force."""
    program = ROOT / container(name)["command"][1]
    assert variables(name).keys() <= set(re.findall(r'environ\.get\("(\w+)"', program.read_text(encoding="utf-8")))


def test_the_probes_by_http_ask_for_what_the_control_plane_answers() -> None:
    """The three paths, at the port that the worker listens on, by an address that the node reaches."""
    worker = container("kafka-worker.yml")
    ports = {each["name"]: each["containerPort"] for each in worker["ports"]}
    paths = {getattr(route, "path", None) for route in Desk(Access(None, None), EventFeed(), Peers((), None)).routes()}
    for probe, (path, _) in PROBES.items():
        asked = worker[probe]["httpGet"]
        assert asked["path"] == path
        assert path in paths
        assert str(ports[asked["port"]]) == variables("kafka-worker.yml")["PORT"]
    assert variables("kafka-worker.yml")["LISTEN"] == "0.0.0.0"  # noqa: S104 - of the pod
    annotations = load(KUBERNETES / "kafka-worker.yml")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == variables("kafka-worker.yml")["PORT"]
    assert annotations["prometheus.io/path"] in paths


def test_the_probes_by_a_command_ask_by_the_socket_that_the_worker_has(tmp_path: Path) -> None:
    """And with options that `holdgate health` knows: nobody answers here, and that is another exit code than a wrong option's words."""
    worker = container("rabbitmq-worker.yml")
    for probe, (_, option) in PROBES.items():
        command = worker[probe]["exec"]["command"]
        assert command == ["holdgate", "health", option, "--socket", variables("rabbitmq-worker.yml")["SOCKET"]]
        answer = invoke(*command[1:-1], str(tmp_path / "none.sock"))
        assert answer.exit_code == 2
        assert "No such option" not in answer.stderr
    mounted = [each["mountPath"] for each in worker["volumeMounts"]]
    assert str(Path(variables("rabbitmq-worker.yml")["SOCKET"]).parent) in mounted


@pytest.mark.parametrize("name", WORKERS)
def test_a_pod_is_not_root_and_writes_nowhere(name: str) -> None:
    """By number, as runAsNonRoot wants it, and the one that the image has."""
    pod = load(KUBERNETES / name)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "examples" / "Dockerfile").read_text(encoding="utf-8")
    assert container(name)["securityContext"]["readOnlyRootFilesystem"]


# Of KEDA's own definition of a ScaledObject (kedacore/keda, keda.sh_scaledobjects.yaml) what ours has.
NUMBER = {"type": "integer", "minimum": 0}
WINDOW = {"type": "object", "properties": {"stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600}}}
SCALED_OBJECT = {
    "type": "object",
    "required": ["scaleTargetRef", "triggers"],
    "additionalProperties": False,
    "properties": {
        "scaleTargetRef": {"type": "object", "required": ["name"]},
        "minReplicaCount": NUMBER,
        "maxReplicaCount": NUMBER,
        "pollingInterval": NUMBER,
        "fallback": {"type": "object", "required": ["failureThreshold", "replicas"], "additionalProperties": NUMBER},
        "advanced": {
            "type": "object",
            "properties": {
                "horizontalPodAutoscalerConfig": {
                    "type": "object",
                    "properties": {"behavior": {"type": "object", "properties": {"scaleDown": WINDOW, "scaleUp": WINDOW}}},
                }
            },
        },
        "triggers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "metadata"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "prometheus"},
                    "metricType": {"enum": ["AverageValue", "Value", "Utilization"]},
                    # Text, all of it: an unquoted 1000 is refused by the API server.
                    "metadata": {
                        "type": "object",
                        "required": ["serverAddress", "query", "threshold"],
                        "propertyNames": {"enum": ["serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues"]},
                        "additionalProperties": {"type": "string"},
                    },
                },
            },
        },
    },
}


def test_keda_scales_the_deployment_by_demand_and_never_to_zero() -> None:
    """Nobody would be left to find out that the outage is over. The group is the example's, and names are text."""
    scaled = load(KUBERNETES / "scaled-object.yml")
    jsonschema.validate(scaled["spec"], SCALED_OBJECT)
    assert (scaled["apiVersion"], scaled["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    deployment = load(KUBERNETES / "kafka-worker.yml")
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # or each `kubectl apply` would undo what KEDA has done
    assert 1 <= scaled["spec"]["minReplicaCount"] <= scaled["spec"]["fallback"]["replicas"] <= scaled["spec"]["maxReplicaCount"]
    program = (ROOT / container("kafka-worker.yml")["command"][1]).read_text(encoding="utf-8")
    group = re.search(r'group_id="(\w+)"', program)
    assert group is not None
    assert scaled_by() == f'sum(holdgate_demand{{group="{group[1]}"}})'
