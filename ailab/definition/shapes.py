"""The parts of Kubernetes objects that ailab reads. The rest passes through; `kubectl` and the tests judge it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Texts = dict[str, str]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Metadata(_Part):
    name: str
    namespace: str = ""
    labels: Texts = {}
    annotations: Texts = {}


class AnyObject(_Part):
    """What every object has."""

    apiVersion: str
    kind: str
    metadata: _Metadata


class _ServicePort(_Part):
    port: int
    targetPort: int | str = 0


class _ServiceSpec(_Part):
    ports: list[_ServicePort] = []


class Service(AnyObject):
    """A Service: its ports."""

    spec: _ServiceSpec


class ConfigMap(AnyObject):
    """A ConfigMap: texts by key."""

    data: Texts = {}


class _BackendPort(_Part):
    number: int


class _BackendService(_Part):
    name: str
    port: _BackendPort


class _Backend(_Part):
    service: _BackendService


class _Path(_Part):
    backend: _Backend


class _Http(_Part):
    paths: list[_Path] = Field(min_length=1)


class _Rule(_Part):
    host: str
    http: _Http


class _IngressSpec(_Part):
    rules: list[_Rule] = Field(min_length=1)


class Ingress(AnyObject):
    """An Ingress: hosts, and the Service behind each."""

    spec: _IngressSpec


class _Key(_Part):
    name: str
    key: str


class _Field(_Part):
    fieldPath: str


class _From(_Part):
    secretKeyRef: _Key | None = None
    configMapKeyRef: _Key | None = None
    fieldRef: _Field | None = None


class _Env(_Part):
    name: str
    value: str = ""
    valueFrom: _From = _From()


class _Name(_Part):
    name: str


class _EnvFrom(_Part):
    configMapRef: _Name | None = None


class _ContainerPort(_Part):
    name: str = ""
    containerPort: int


class _Exec(_Part):
    command: list[str] = []


class _Header(_Part):
    name: str
    value: str


class _HttpGet(_Part):
    port: int | str
    path: str = "/"
    httpHeaders: list[_Header] = []


class _TcpSocket(_Part):
    port: int | str


class _Probe(_Part):
    httpGet: _HttpGet | None = None
    tcpSocket: _TcpSocket | None = None
    exec: _Exec | None = None
    initialDelaySeconds: int = 0
    periodSeconds: int = 10
    timeoutSeconds: int = 1
    successThreshold: int = 1
    failureThreshold: int = 3


class _Hook(_Part):
    exec: _Exec = _Exec()


class _Lifecycle(_Part):
    postStart: _Hook = _Hook()


class _Mount(_Part):
    name: str
    mountPath: str
    subPath: str = ""


class _Resources(_Part):
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}


class _Container(_Part):
    name: str
    image: str
    command: list[str] = []
    args: list[str] = []
    env: list[_Env] = []
    envFrom: list[_EnvFrom] = []
    ports: list[_ContainerPort] = []
    startupProbe: _Probe | None = None
    livenessProbe: _Probe | None = None
    readinessProbe: _Probe | None = None
    lifecycle: _Lifecycle = _Lifecycle()
    volumeMounts: list[_Mount] = []
    resources: _Resources = _Resources()


class _Claim(_Part):
    claimName: str


class _EmptyDir(_Part):
    medium: str = ""


class _Item(_Part):
    key: str
    path: str


class _Config(_Part):
    name: str
    items: list[_Item] = []


class _Volume(_Part):
    name: str
    persistentVolumeClaim: _Claim | None = None
    configMap: _Config | None = None
    emptyDir: _EmptyDir | None = None


class _Pod(_Part):
    containers: list[_Container] = Field(min_length=1)
    initContainers: list[_Container] = []
    volumes: list[_Volume] = []
    priorityClassName: str = ""
    terminationGracePeriodSeconds: int = 30


class _TemplateMetadata(_Part):
    labels: Texts = {}
    annotations: Texts = {}


class _Template(_Part):
    metadata: _TemplateMetadata
    spec: _Pod


class _ClaimTemplate(_Part):
    metadata: _Name


class _WorkloadSpec(_Part):
    replicas: int = 1
    template: _Template
    volumeClaimTemplates: list[_ClaimTemplate] = []


class Workload(AnyObject):
    """A Deployment or StatefulSet: its pod."""

    spec: _WorkloadSpec


BY_KIND: dict[str, type[AnyObject]] = {
    "ConfigMap": ConfigMap,
    "Deployment": Workload,
    "Ingress": Ingress,
    "Service": Service,
    "StatefulSet": Workload,
}
