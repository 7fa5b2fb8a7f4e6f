"""The real k8s/: valid for Kubernetes, of one form, and as closed as each image allows."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from ailab.definition.crosschecks import NAMESPACE, files_of
from ailab.definition.load import SHARED
from ailab.definition.manifests import Manifest, containers, read_manifests
from tests.conftest import ROOT

VERSION = "1.34"
SERVICES = {
    "grafana": {"http": 3000},
    "litellm": {"http": 4000},
    "llama-cpp": {"chat": 8080, "embeddings": 8081},
    "neo4j": {"http": 7474, "bolt": 7687},
    "ollama": {"http": 11434},
    "open-webui": {"http": 8080},
    "phoenix": {"http": 6006, "otlp-grpc": 4317},
    "postgresql": {"postgresql": 5432},
    "prometheus": {"http": 9090},
    "searxng": {"http": 8080},
    "vllm": {"http": 8000},
}
WITH_INGRESS = {"grafana", "litellm", "open-webui", "phoenix"}
# What is not as Restricted Pod Security or a read-only root ask, by workload, and why. A rule that is kept again must leave this list.
UNRESTRICTED: dict[str, str] = {}
WRITABLE_ROOT = {"neo4j": "its image's entrypoint writes the configuration beside the program"}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
_NAMES = "|".join(map(re.escape, SERVICES))
SHORT = re.compile(
    rf"(?://|@)(?:{_NAMES})(?=[:/?#\s\"'\]]|$)(?![^/\s]*@)"
    rf"|(?<![\w./@:-])(?:{_NAMES}):\d{{2,5}}\b"
    rf"|\b(?:{_NAMES})\.{NAMESPACE}\b(?!\.svc\.cluster\.local)"
)
SCHEMA = "# yaml-language-server: $schema=https://raw.githubusercontent.com/yannh/kubernetes-json-schema/master/v{}.0-standalone-strict/{}.json"

MANIFESTS, PROBLEMS = read_manifests(ROOT)
PODS = [m for m in MANIFESTS if m.pod]
EACH = pytest.mark.parametrize("m", MANIFESTS, ids=[m.file.removeprefix("k8s/") for m in MANIFESTS])
EACH_POD = pytest.mark.parametrize("m", PODS, ids=[m.name for m in PODS])
EACH_SERVICE = pytest.mark.parametrize("service", SERVICES)


def of_kind(kind: str) -> dict[str, Manifest]:
    return {m.name: m for m in MANIFESTS if m.kind == kind}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from _strings(inner)


def texts(m: Manifest) -> list[str]:
    """Every text of an object but image names, and the files that it is filled from."""
    obj = {k: v for k, v in m.object.items() if k != "spec" or not m.pod}
    parts = [obj] if not m.pod else [obj, *({k: v for k, v in c.items() if k != "image"} for c in containers(m.pod))]
    return [*(s for p in parts for s in _strings(p)), *((ROOT / f).read_text("utf-8") for f in files_of(m))]


def test_all_can_be_read() -> None:
    assert PROBLEMS == []
    assert not list((ROOT / "k8s").glob("*/*.yaml")), "files end in .yml"


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", functools.cache(kubernetes_validate.utils.schema_contents))
        yield


# ---- form


@EACH
def test_it_is_valid_for_kubernetes(m: Manifest) -> None:
    assert kubernetes_validate.validate(m.object, VERSION, strict=True) == VERSION


@EACH
def test_its_first_line_names_its_schema(m: Manifest) -> None:
    group, _, version = m.object["apiVersion"].rpartition("/")
    name = "-".join(filter(None, [m.kind.lower(), group.split(".")[0], version]))
    assert (ROOT / m.file).read_text("utf-8").splitlines()[0] == SCHEMA.format(VERSION, name)


@EACH
def test_its_file_is_named_after_its_kind(m: Manifest) -> None:
    short = {"persistentvolumeclaim": "pvc"}
    assert Path(m.file).stem == short.get(m.kind.lower(), m.kind.lower())


@EACH
def test_its_names_and_labels(m: Manifest) -> None:
    meta = m.object["metadata"]
    if m.service in SHARED:
        assert meta["labels"].items() >= {"app.kubernetes.io/part-of": "ailab"}.items()
        return
    assert meta["name"] == m.service
    assert meta["namespace"] == NAMESPACE
    assert meta["labels"] == {"app.kubernetes.io/name": m.service, "app.kubernetes.io/part-of": "ailab"}


@EACH
def test_other_services_are_named_in_full(m: Manifest) -> None:
    """The native runtime puts addresses in their place, and a short name would be another service's in another namespace."""
    for text in texts(m):
        for line in text.splitlines():
            assert not SHORT.search(line), line


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("http://litellm:4000", True),
        ("http://litellm/v1", True),
        ("postgresql://a:b@postgresql:5432/a", True),
        ("targets: [phoenix:6006]", True),
        ("http://litellm.ai-lab:4000", True),
        ("http://litellm.ai-lab.svc:4000", True),
        ("http://litellm.ai-lab.svc.cluster.local:4000", False),
        ("postgresql://litellm:$(PASSWORD)@postgresql.ai-lab.svc.cluster.local:5432/litellm", False),
        ("https://github.com/ollama/ollama", False),
        ("https://grafana.com", False),
    ],
)
def test_short_names_are_seen(text: str, short: bool) -> None:
    assert bool(SHORT.search(text)) == short


# ---- services


@EACH_SERVICE
def test_each_service_is_whole(service: str) -> None:
    kinds = {m.kind for m in MANIFESTS if m.service == service}
    assert kinds >= {"Service", "NetworkPolicy"}, f"k8s/{service}/ lacks a manifest"
    assert len(kinds & {"Deployment", "StatefulSet"}) == 1
    assert ("Ingress" in kinds) == (service in WITH_INGRESS)
    assert (ROOT / "k8s" / service / "native.toml").is_file()


def test_there_are_no_others() -> None:
    assert {m.service for m in MANIFESTS} - SHARED <= SERVICES.keys()
    assert {m.name for m in PODS} <= SERVICES.keys()


@pytest.mark.parametrize("m", of_kind("Service").values(), ids=of_kind("Service"))
def test_a_service_is_inside_and_leads_to_its_own_pods_ports(m: Manifest) -> None:
    spec = m.object["spec"]
    assert spec["type"] == "ClusterIP"
    assert spec["selector"] == {"app.kubernetes.io/name": m.service}
    assert {p["name"]: p["port"] for p in spec["ports"]} == SERVICES[m.name]
    assert all(p["targetPort"] == p["port"] for p in spec["ports"])
    pod = next(w.pod for w in PODS if w.name == m.name)
    assert pod is not None
    declared = {p["name"]: p["containerPort"] for c in pod["containers"] for p in c.get("ports", [])}
    assert declared == SERVICES[m.name]


def test_nothing_else_opens_a_door() -> None:
    assert {m.kind for m in MANIFESTS} <= {
        "ConfigMap", "Deployment", "Ingress", "Namespace", "NetworkPolicy", "PersistentVolumeClaim", "PriorityClass", "Service", "StatefulSet",
    }  # fmt: skip


@pytest.mark.parametrize("m", of_kind("Ingress").values(), ids=of_kind("Ingress"))
def test_an_ingress_serves_one_host(m: Manifest) -> None:
    spec, notes = m.object["spec"], m.object["metadata"]["annotations"]
    assert spec["ingressClassName"] == "nginx"
    assert [r["host"] for r in spec["rules"]] == [f"{m.service}.gpu-lab.tail1234.ts.net"]
    (path,) = spec["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"], path["backend"]["service"]["name"]) == ("/", "Prefix", m.service)
    assert path["backend"]["service"]["port"]["number"] == SERVICES[m.service]["http"]
    assert {n.removeprefix("nginx.org/") for n in notes} >= {"client-max-body-size", "proxy-read-timeout", "proxy-send-timeout"}
    assert all(n.startswith("nginx.org/") for n in notes), "annotations of the maintained controller alone"


# ---- pods


@EACH_POD
def test_a_workload_finds_its_pods(m: Manifest) -> None:
    spec = m.object["spec"]
    assert spec["selector"]["matchLabels"] == {"app.kubernetes.io/name": m.service}
    assert spec["template"]["metadata"]["labels"].items() >= m.object["metadata"]["labels"].items()
    assert pod_of(m)["containers"][0]["name"] == m.service
    if m.kind == "StatefulSet":
        assert spec["serviceName"] == m.service


@EACH_POD
def test_one_pod_at_a_time_where_two_would_quarrel(m: Manifest) -> None:
    pod = pod_of(m)
    claims = any("persistentVolumeClaim" in v for v in pod.get("volumes", []))
    gpu = any("nvidia.com/gpu" in c["resources"].get("limits", {}) for c in containers(pod))
    if m.kind == "Deployment" and (claims or gpu):
        assert m.object["spec"]["strategy"] == {"type": "Recreate"}


@EACH_POD
def test_a_pod_knows_nothing_of_the_cluster(m: Manifest) -> None:
    assert pod_of(m)["automountServiceAccountToken"] is False
    assert pod_of(m)["enableServiceLinks"] is False


def restricted(pod: dict[str, Any]) -> list[str]:
    """What Restricted Pod Security has against a pod. https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    found = [k for k in ("hostNetwork", "hostPID", "hostIPC") if pod.get(k)]
    found += [f"volume {v['name']}" for v in pod.get("volumes", []) if not v.keys() - {"name"} <= VOLUMES]
    general = pod.get("securityContext", {})
    for c in containers(pod):
        own = c.get("securityContext", {})
        both = general | own
        found += [f"{c['name']}: {what}" for what, good in {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser", 0) > 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities", {}).get("drop") == ["ALL"] and set(own["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"},
            "privileged": not own.get("privileged"),
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any("hostPort" in p for p in c.get("ports", [])),
        }.items() if not good]  # fmt: skip
    return found


def pod_of(m: Manifest) -> dict[str, Any]:
    """The pod of a workload."""
    assert m.pod is not None
    return m.pod


@EACH_POD
def test_restricted_pod_security(m: Manifest) -> None:
    found = restricted(pod_of(m))
    assert bool(found) == (m.name in UNRESTRICTED), found


@EACH_POD
def test_the_root_is_read_only(m: Manifest) -> None:
    writable = [c["name"] for c in containers(pod_of(m)) if c["securityContext"].get("readOnlyRootFilesystem") is not True]
    assert bool(writable) == (m.name in WRITABLE_ROOT), writable


def test_the_namespace_enforces_what_all_pods_keep() -> None:
    labels = of_kind("Namespace")[NAMESPACE].object["metadata"]["labels"]
    levels = {k.rpartition("/")[2]: v for k, v in labels.items() if k.startswith("pod-security.kubernetes.io/")}
    assert levels["enforce"] == ("baseline" if UNRESTRICTED else "restricted")
    assert levels["enforce-version"] == f"v{VERSION}"


@EACH_POD
def test_resources(m: Manifest) -> None:
    for c in containers(pod_of(m)):
        assert c["resources"]["requests"].keys() >= {"cpu", "memory"}, c["name"]
        assert "memory" in c["resources"]["limits"], c["name"]


@EACH_POD
def test_probes(m: Manifest) -> None:
    for c in pod_of(m)["containers"]:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert c[kind].keys() >= {"periodSeconds", "timeoutSeconds", "failureThreshold"}, f"{c['name']} {kind}: numbers are written down"


@EACH_POD
def test_images_stay_what_they_are(m: Manifest) -> None:
    for c in containers(pod_of(m)):
        assert re.fullmatch(r"[a-z0-9._/-]+:(?!latest$|main$|nightly$)[\w.-]+", c["image"]), "repository and tag; rendering adds the digest"
        assert c.get("imagePullPolicy", "IfNotPresent") == "IfNotPresent"


@EACH_POD
def test_secrets_reach_a_container_as_variables_of_its_own_secret(m: Manifest) -> None:
    for c in containers(pod_of(m)):
        refs = [e["valueFrom"]["secretKeyRef"] for e in c.get("env", []) if "secretKeyRef" in e.get("valueFrom", {})]
        assert {r["name"] for r in refs} <= {m.service}
        secret = [e["name"] for e in c.get("env", []) if "secretKeyRef" in e.get("valueFrom", {})]
        for text in _strings([c.get("command", []), c.get("args", [])]):
            assert not any(f"$({name})" in text for name in secret), "arguments are seen by everybody on the machine"


def test_every_config_and_claim_is_used() -> None:
    volumes = [v for m in PODS for v in pod_of(m).get("volumes", [])]
    used = {("ConfigMap", v["configMap"]["name"]) for v in volumes if "configMap" in v}
    used |= {("PersistentVolumeClaim", v["persistentVolumeClaim"]["claimName"]) for v in volumes if "persistentVolumeClaim" in v}
    assert {(m.kind, m.name) for m in MANIFESTS if m.kind in ("ConfigMap", "PersistentVolumeClaim")} <= used
