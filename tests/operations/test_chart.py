"""The Helm chart's output: valid for Kubernetes and its operators, tied to its region, without a secret."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components import require_module, require_program

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "residency"
REGIONS = sorted(path.stem for path in (CHART / "values").glob("*.yaml"))
FULL = Path(__file__).with_name("full.yaml")
HELM = "go install helm.sh/helm/v3/cmd/helm@v3.22.0"
NODE = "npm install --no-save @kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/keda@2.0.0"
MODULES = Path(__file__).resolve().parents[2] / ".run" / "node" / "node_modules"
VERSIONS = ("1.29", "1.33")
OPERATORS = {"PodMonitor", "PrometheusRule", "ServiceMonitor", "ScaledObject"}
# Its definition has no schema for `parameters`, and no registry has it: these fields stand in the driver's docs.
_CSI = {"apiVersion", "kind", "metadata", "spec"}

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
Resource = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [require_program("helm", HELM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@cache
def rendered(region: str, *arguments: str) -> tuple[Resource, ...]:
    """Return the resources of one region's release; `full` has everything switched on."""
    values = ["-f", str(CHART / "values" / f"{'eu-central-1' if region == 'full' else region}.yaml")]
    if region == "full":
        values += ["-f", str(FULL)]
    done = helm("template", "release", str(CHART), "-n", "residency", "--kube-version", "1.33.0", *values, *arguments)
    assert done.returncode == 0, done.stderr
    return tuple(resource for resource in yaml.safe_load_all(done.stdout) if resource)


def of(region: str, kind: str, *arguments: str) -> dict[str, Resource]:
    return {r["metadata"]["name"]: r for r in rendered(region, *arguments) if r["kind"] == kind}


def pods(region: str, *arguments: str) -> dict[str, Resource]:
    """Return the pod templates by the name of what makes them."""
    makers = ("StatefulSet", "Deployment")
    return {r["metadata"]["name"]: r["spec"]["template"] for r in rendered(region, *arguments) if r["kind"] in makers}


@pytest.mark.parametrize("region", REGIONS)
def test_the_chart_is_sound_for_each_region(region: str) -> None:
    """`helm lint --strict` finds nothing."""
    values = str(CHART / "values" / f"{region}.yaml")

    linted = helm("lint", "--strict", str(CHART), "-f", values, "--kube-version", "1.33.0")

    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("region", [*REGIONS, "full"])
def test_the_output_is_valid_for_kubernetes(region: str, version: str) -> None:
    """Every resource of Kubernetes' own kinds fits its schema, with no field that is unknown."""
    require_module("kubernetes_validate", "pip install -e '.[operations]'")
    import kubernetes_validate

    for resource in rendered(region):
        if resource["kind"] not in OPERATORS | {"SecretProviderClass"}:
            kubernetes_validate.validate(resource, version, strict=True)


def test_the_output_is_valid_for_the_operators() -> None:
    """The Prometheus operator's and KEDA's kinds fit the schemas of their definitions."""
    require_program("node", "Node 20 or later")
    if not MODULES.is_dir():
        pytest.skip(f"in {MODULES.parent}: {NODE}")
    script = MODULES.parent / "monitors.mjs"
    script.write_text(Path(__file__).with_name("monitors.mjs").read_text(encoding="utf-8"), encoding="utf-8")
    resources = [r for region in (*REGIONS, "full") for r in rendered(region) if r["kind"] in OPERATORS]

    checked = subprocess.run(
        ["node", str(script)], input=json.dumps(resources), capture_output=True, text=True, check=False
    )

    assert {r["kind"] for r in resources} == OPERATORS
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr


def test_the_csi_driver_s_kind_has_its_documented_fields() -> None:
    """provider and parameters, and nothing else."""
    (found,) = of("full", "SecretProviderClass", "--set", "worker.credentials.csi.enabled=true").values()

    assert set(found) == _CSI
    assert set(found["spec"]) == {"provider", "parameters"}


@pytest.mark.parametrize("region", [*REGIONS, "full"])
def test_every_pod_stays_in_its_region(region: str) -> None:
    """Required node affinity on the region's topology label."""
    expected = "eu-central-1" if region == "full" else region
    for template in pods(region).values():
        required = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = required["nodeSelectorTerms"]
        assert term["matchExpressions"] == [
            {"key": "topology.kubernetes.io/region", "operator": "In", "values": [expected]}
        ]


@pytest.mark.parametrize("region", [*REGIONS, "full"])
def test_every_pod_is_confined(region: str) -> None:
    """Not root, nothing writable but /tmp and the store, no capabilities, no token of the cluster's."""
    for template in pods(region).values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= container["resources"].keys()
            writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
            assert writable <= {"/tmp", "/var/lib/authority"}


def test_the_authority_s_store_lies_below_its_volume() -> None:
    """A volume's own directory is root's, open to its group: nothing that only the authority may read can lie in it."""
    (container,) = pods("full")["release-residency-authority"]["spec"]["containers"]
    (data,) = (Path(a.removeprefix("--data=")) for a in container["args"] if a.startswith("--data="))

    assert str(data.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("region", [*REGIONS, "full"])
def test_a_network_policy_selects_every_pod_and_names_where_it_may_go(region: str) -> None:
    """Ingress and egress are closed but for the lists; no rule lets out to everywhere."""
    policies = of(region, "NetworkPolicy").values()
    selectors = [policy["spec"]["podSelector"]["matchLabels"] for policy in policies]

    for template in pods(region).values():
        labels = template["metadata"]["labels"]
        assert any(selector.items() <= labels.items() for selector in selectors)
    for policy in policies:
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for rule in (*policy["spec"]["ingress"], *policy["spec"]["egress"]):
            places = rule.get("from", rule.get("to"))
            assert places
            assert rule["ports"]
            assert all("0.0.0.0/0" not in json.dumps(place) for place in places)


@pytest.mark.parametrize("region", [*REGIONS, "full"])
def test_no_secret_is_in_the_output(region: str) -> None:
    """A release makes no Secret, and no ConfigMap or variable holds what should be one."""
    assert of(region, "Secret") == {}
    text = "\n".join(json.dumps(c["data"]) for c in of(region, "ConfigMap").values())
    assert not re.search(r"CSAK|BEGIN [A-Z ]*PRIVATE KEY|password\s*=\s*\\?\"(?!KAFKA_PASSWORD)", text)
    for template in pods(region).values():
        for container in template["spec"]["containers"]:
            for variable in container.get("env", ()):
                secret = re.search(r"KEY|PASSWORD|TOKEN|DATABASE_URL", variable["name"])
                assert not secret or variable["name"].endswith("_FILE")


def test_a_changed_configuration_restarts_the_pods_and_nothing_else_does() -> None:
    """The checksum follows the configuration; names and selectors do not follow the chart's version or its values."""
    changed = rendered("eu-central-1", "--set", "worker.replicas=5")
    before, other = pods("eu-central-1"), pods("ap-southeast-2")
    (name,) = before

    checksum = before[name]["metadata"]["annotations"]["checksum/config"]
    assert other[name]["metadata"]["annotations"]["checksum/config"] != checksum
    same = next(r for r in changed if r["kind"] == "StatefulSet")
    assert same["spec"]["template"] == before[name]
    (stateful,) = of("eu-central-1", "StatefulSet").values()
    assert stateful["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "residency-worker",
        "app.kubernetes.io/instance": "release",
    }


def test_a_pod_s_name_is_its_worker_s() -> None:
    """Transactional ids stay the same over restarts: a StatefulSet's pod names, told as WORKER_INSTANCE."""
    (stateful,) = of("eu-central-1", "StatefulSet").values()
    variables = {v["name"]: v for v in stateful["spec"]["template"]["spec"]["containers"][0]["env"]}

    assert variables["WORKER_INSTANCE"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_a_pod_may_take_as_long_to_stop_as_the_worker_does() -> None:
    """The grace covers `stop_s` and the 15 s to close."""
    spec = pods("full", "--set", "worker.stopSeconds=40")["release-residency-worker"]["spec"]
    told = {v["name"]: v.get("value") for v in spec["containers"][0]["env"]}

    assert told["WORKER_DELIVERY__STOP_S"] == "40"
    assert spec["terminationGracePeriodSeconds"] >= 40 + 15


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_no_more_pods_than_partitions_are_ever_wanted(kind: str) -> None:
    """The cap is the number of partitions, however high the maximum is."""
    arguments = (
        "--set",
        f"worker.autoscaling.{kind}.enabled=true",
        "--set",
        f"worker.autoscaling.{kind}.maxReplicas=50",
    )
    scaled = rendered("eu-central-1", *arguments)
    most = next(
        r["spec"].get("maxReplicas", r["spec"].get("maxReplicaCount"))
        for r in scaled
        if r["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    )

    assert most == 6
    assert "replicas" not in next(r for r in scaled if r["kind"] == "StatefulSet")["spec"]


def test_keda_does_not_wake_for_a_transactions_markers() -> None:
    """An idle transactional topic rests at a lag of 1 a partition."""
    (scaled,) = of("full", "ScaledObject").values()

    assert int(scaled["spec"]["triggers"][0]["metadata"]["activationLagThreshold"]) > 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "region=us-east-1"), "worker.config: region must be"),
        (("--set", "worker.credentials.existingSecret="), "name an existingSecret"),
        (("--set", "networkPolicy.egress.kafka.cidrs=null"), "networkPolicy.egress.kafka.cidrs"),
        (("--set", "worker.autoscaling.hpa.enabled=true,worker.autoscaling.keda.enabled=true"), "keep one"),
        (("--set", "worker.replica=3"), "replica"),
        (("--set", "worker.partitions=none"), "partitions"),
        (("-f", str(FULL), "--set", "networkPolicy.egress.traces.cidrs=null"), "networkPolicy.egress.traces.cidrs"),
    ],
)
def test_wrong_values_are_refused_by_name(arguments: tuple[str, ...], message: str) -> None:
    """The schema and the chart's own checks say what is wrong before anything is installed."""
    values = str(CHART / "values" / "eu-central-1.yaml")

    done = helm("template", "release", str(CHART), "--kube-version", "1.33.0", "-f", values, *arguments)

    assert done.returncode != 0
    assert message in done.stderr


def test_alerts_and_dashboards_link_to_where_the_pages_are() -> None:
    """`runbooks` replaces the placeholder everywhere."""
    output = json.dumps(rendered("full", "--set", "runbooks=https://wiki.acme.example/residency"))

    assert "runbooks.example.com" not in output
    assert "https://wiki.acme.example/residency/worker-down.md" in output


def test_the_example_without_helm_is_the_chart_s_output() -> None:
    """deploy/kubectl is what the chart makes for one region, without monitoring and without Helm's own labels."""
    off = ",".join(f"monitoring.{part}.enabled=false" for part in ("podMonitor", "rules", "dashboards"))
    values = str(CHART / "values" / "eu-central-1.yaml")
    done = helm(
        "template", "residency", str(CHART), "-n", "residency", "--kube-version", "1.33.0", "-f", values, "--set", off
    )
    made = [resource for resource in yaml.safe_load_all(done.stdout) if resource]
    for resource in made:
        templates = [resource["metadata"], resource.get("spec", {}).get("template", {}).get("metadata", {})]
        for metadata in templates:
            for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
                metadata.get("labels", {}).pop(label, None)

    committed = CHART.parents[1] / "kubectl" / "residency.yaml"

    assert [r for r in yaml.safe_load_all(committed.read_text(encoding="utf-8")) if r] == made
