"""deploy/kubernetes: what it renders to is valid, restricted, and hangs together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from deploy.command_lines import DEPLOY, parse
from deploy.kustomizing import Unsupported, build, containers, documents
from sqlalchemy import make_url

from ephemera_issuer.metrics.families import MINTS
from ephemera_issuer.server import DRAIN, LINGER
from ephemera_issuer.settings import REDIS_SCHEMES, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.kustomizing import Resource

KUBERNETES = DEPLOY / "kubernetes"
TREES = ("base", "overlays/production")
VECTOR = Path(__file__).parent / "kustomize"


@pytest.fixture(params=TREES)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return build(KUBERNETES / request.param)


def of(resources: list[Resource], kind: str, name: str = "ephemera") -> Resource:
    (found,) = [
        resource
        for resource in resources
        if resource["kind"] == kind and resource["metadata"]["name"] == name
    ]
    return found


def pods(resources: list[Resource]) -> Iterator[Resource]:
    """The templates of all pods."""
    return (
        resource["spec"]["template"]
        for resource in resources
        if resource["kind"] in {"Deployment", "Job"}
    )


def labels(resources: list[Resource]) -> list[dict[str, str]]:
    return [pod["metadata"]["labels"] for pod in pods(resources)]


def selects(selector: dict[str, str], resources: list[Resource]) -> bool:
    return any(selector.items() <= found.items() for found in labels(resources))


def by_name(resources: list[Resource]) -> list[Resource]:
    return sorted(resources, key=lambda found: (found["kind"], found["metadata"]["name"]))


def test_a_tree_is_rendered_as_kustomize_renders_it() -> None:
    expected = documents(VECTOR / "expected.yaml")
    assert by_name(build(VECTOR / "overlay")) == by_name(expected)


@pytest.mark.parametrize(
    "field", ["commonLabels", "configMapGenerator", "components", "nameSuffix", "replicas"]
)
def test_a_tree_that_says_what_is_not_rendered_here_is_refused(tmp_path: Path, field: str) -> None:
    text = (VECTOR / "base" / "kustomization.yaml").read_text()
    (tmp_path / "kustomization.yaml").write_text(f"{text}{field}: []\n")
    with pytest.raises(Unsupported, match=field):
        build(tmp_path)


def test_every_file_of_the_trees_is_part_of_what_they_render_to() -> None:
    for tree in TREES:
        (kustomization,) = documents(KUBERNETES / tree / "kustomization.yaml")
        patches = [patch["path"] for patch in kustomization.get("patches", ())]
        named = {"kustomization.yaml", "../../base", *kustomization["resources"], *patches}
        assert {file.name for file in (KUBERNETES / tree).iterdir()} == named - {"../../base"}


def test_each_resource_is_as_its_schema_says(resources: list[Resource]) -> None:
    for resource in resources:
        kubernetes_validate.validate(resource, "1.33", strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found(resources: list[Resource]) -> None:
    pod = of(resources, "Deployment")["spec"]["template"]["spec"]
    pod["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(of(resources, "Deployment"), "1.33", strict=True)


def test_every_pod_is_restricted(resources: list[Resource]) -> None:
    for pod in pods(resources):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["fsGroup"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert all("hostPath" not in volume for volume in spec["volumes"])
    assert of(resources, "ServiceAccount")["automountServiceAccountToken"] is False
    assert not [resource for resource in resources if resource["kind"] == "Secret"]


def test_secrets_can_be_read_by_the_pods_user_and_by_nobody_else(
    resources: list[Resource],
) -> None:
    for pod in pods(resources):
        modes = [
            volume["secret"]["defaultMode"]
            for volume in pod["spec"]["volumes"]
            if "secret" in volume
        ]
        assert modes
        assert set(modes) == {0o440}


def environment(resources: list[Resource], container: Resource) -> dict[str, str]:
    """What a container is told, from the map of settings and its own."""
    told: dict[str, str] = {}
    for source in container["envFrom"]:
        told |= of(resources, "ConfigMap", source["configMapRef"]["name"])["data"]
    return told | {entry["name"]: entry["value"] for entry in container.get("env", ())}


def test_settings_and_command_lines_are_real(
    resources: list[Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for resource in resources:
        for container in containers(resource):
            seen.append(parse(container["args"]))
            with monkeypatch.context() as within:
                for name, value in environment(resources, container).items():
                    within.setenv(name, value)
                Settings()
    assert sorted(seen) == ["migrate", "serve"]


def test_each_file_that_a_setting_names_is_mounted(resources: list[Resource]) -> None:
    (container,) = containers(of(resources, "Deployment"))
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    told = environment(resources, container)
    url = make_url(told["EPHEMERA_DATABASE_URL"])
    files = [value for name, value in told.items() if name.endswith("_FILE")]
    files += [str(url.query["password_file"]), str(url.query["sslrootcert"])]
    assert len(files) == 6
    for file in files:
        assert str(Path(file).parent) in mounts
    (migrating,) = of(resources, "Job", "ephemera-migrate")["spec"]["template"]["spec"]["volumes"]
    handed = {item["path"] for item in migrating["secret"]["items"]}
    # It opens no signing key, so it is given none that could.
    assert handed == {"database-password", "database-ca"}
    assert "EPHEMERA_DATABASE_URL" in told


def test_probes_services_and_policies_name_ports_that_there_are(
    resources: list[Resource],
) -> None:
    (container,) = containers(of(resources, "Deployment"))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    told = environment(resources, container)
    for name, setting in (("https", "EPHEMERA_LISTEN"), ("private", "EPHEMERA_PRIVATE_LISTEN")):
        assert told[setting] == f"0.0.0.0:{ports[name]}"
    paths = {}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert (asked["scheme"], asked["port"]) == ("HTTPS", "https")
        paths[probe] = asked["path"]
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    for name in ("ephemera", "ephemera-private"):
        service = of(resources, "Service", name)["spec"]
        assert selects(service["selector"], resources)
        (port,) = service["ports"]
        assert port["targetPort"] in ports
    annotated = of(resources, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert int(annotated["prometheus.io/port"]) == ports["private"]


def test_a_pod_that_is_to_end_has_the_time_for_it(resources: list[Resource]) -> None:
    spec = of(resources, "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pause + DRAIN + LINGER + 5
    # So long may a node that asks for readiness send callers on.
    probe = container["readinessProbe"]
    assert pause > probe["periodSeconds"] * probe["failureThreshold"]


def test_a_replica_is_always_there(resources: list[Resource]) -> None:
    deployment = of(resources, "Deployment")["spec"]
    assert "replicas" not in deployment  # the autoscaler's business
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    scaler = of(resources, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "ephemera",
    }
    assert scaler["minReplicas"] >= 2
    budget = of(resources, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert selects(budget["selector"]["matchLabels"], resources)
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    for constraint in spread:
        assert selects(constraint["labelSelector"]["matchLabels"], resources)
    assert deployment["selector"]["matchLabels"].items() <= (
        deployment["template"]["metadata"]["labels"].items()
    )


def test_the_autoscaler_asks_for_what_the_adapter_makes(resources: list[Resource]) -> None:
    (values,) = documents(DEPLOY / "prometheus" / "adapter.yaml")
    (rule,) = values["rules"]
    metrics = of(resources, "HorizontalPodAutoscaler")["spec"]["metrics"]
    (asked,) = [metric["pods"] for metric in metrics if metric["type"] == "Pods"]
    assert asked["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith(f"{MINTS.name}_total{{")
    assert "(rate(<<.Series>>{<<.LabelMatchers>>}[" in rule["metricsQuery"]


def policies(resources: list[Resource]) -> list[Resource]:
    return [resource["spec"] for resource in resources if resource["kind"] == "NetworkPolicy"]


def test_no_pod_is_reached_or_reaches_anything_but_what_is_named(
    resources: list[Resource],
) -> None:
    denied = of(resources, "NetworkPolicy", "ephemera-nothing")["spec"]
    assert denied.keys() == {"podSelector", "policyTypes"}
    assert denied["policyTypes"] == ["Ingress", "Egress"]
    everyone = denied["podSelector"]["matchLabels"]
    assert all(everyone.items() <= found.items() for found in labels(resources))
    for policy in policies(resources):
        assert selects(policy["podSelector"]["matchLabels"], resources)
        for way in ("from", "to"):
            for rule in policy.get("ingress" if way == "from" else "egress", ()):
                assert rule[way]  # an empty list would be everybody
                assert rule["ports"]


def reached(resources: list[Resource], pod: dict[str, str]) -> set[Any]:
    """The ports that a pod may connect to."""
    return {
        port["port"]
        for policy in policies(resources)
        if policy["podSelector"]["matchLabels"].items() <= pod.items()
        for rule in policy.get("egress", ())
        for port in rule["ports"]
    }


def test_the_servers_that_the_settings_name_can_be_reached(resources: list[Resource]) -> None:
    (container,) = containers(of(resources, "Deployment"))
    told = environment(resources, container)
    database = make_url(told["EPHEMERA_DATABASE_URL"]).port
    assert told["EPHEMERA_REPLAY_URL"].startswith(REDIS_SCHEMES)
    ledger = make_url(told["EPHEMERA_REPLAY_URL"]).port
    issuer = of(resources, "Deployment")["spec"]["template"]["metadata"]["labels"]
    migrate = of(resources, "Job", "ephemera-migrate")["spec"]["template"]["metadata"]["labels"]
    assert reached(resources, issuer) == {53, database, ledger}
    assert reached(resources, migrate) == {53, database}


def test_the_private_listener_is_for_the_monitoring_alone(resources: list[Resource]) -> None:
    admitted = [
        (port["port"], peer)
        for policy in policies(resources)
        for rule in policy.get("ingress", ())
        for port in rule["ports"]
        for peer in rule["from"]
    ]
    monitoring = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    assert admitted == [
        ("https", {"namespaceSelector": {}}),
        ("private", {"namespaceSelector": monitoring}),
    ]


def test_the_overlay_is_of_one_namespace_that_admits_only_restricted_pods() -> None:
    resources = build(KUBERNETES / "overlays" / "production")
    (namespace,) = [resource for resource in resources if resource["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    name = namespace["metadata"]["name"]
    for resource in resources:
        assert resource is namespace or resource["metadata"]["namespace"] == name
    (image,) = {container["image"] for found in resources for container in containers(found)}
    (kustomization,) = documents(KUBERNETES / "overlays/production/kustomization.yaml")
    (renamed,) = kustomization["images"]
    assert image == f"{renamed['newName']}:{renamed['newTag']}"
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["services"]["issuer"]["image"] == f"{renamed['name']}:{renamed['newTag']}"
