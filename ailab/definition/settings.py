"""lab.toml as typed data; the file's own comments are the manual."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from ailab.definition.problems import Problem, did_you_mean
from ailab.definition.strict import Strict, problems_of, read_toml, shown

OFF_BY_DEFAULT = frozenset({"ollama", "vllm"})
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Lab(Strict):
    """[lab]: names."""

    tailnet: str
    host: str = "gpu-lab"

    @field_validator("tailnet", "host")
    @classmethod
    def _label(cls, value: str) -> str:
        if not _LABEL.fullmatch(value):
            raise ValueError(f"{shown(value)} is no DNS label|lower-case letters, digits and hyphens, 63 at most")
        return value


class Native(Strict):
    """[native]: the runtime without containers."""

    network: str = "127.77.0.0/16"
    port: Annotated[int, Field(ge=1024, le=65535)] = 8800
    parallel_starts: Annotated[int, Field(ge=0, le=64)] = 0
    log_max_mb: Annotated[int, Field(ge=1, le=1000)] = 10
    log_files: Annotated[int, Field(ge=2, le=100)] = 5
    leave_out: list[str] = ["grafana"]
    ready_timeout_s: Annotated[int, Field(ge=10, le=3600)] = 180

    @field_validator("network")
    @classmethod
    def _loopback(cls, value: str) -> str:
        way_out = "a /16 within 127.0.0.0/8 but 127.0.0.0/16, such as 127.77.0.0/16"
        try:
            network = ipaddress.IPv4Network(value)
        except ValueError:
            raise ValueError(f"{shown(value)} is no IPv4 network|{way_out}") from None
        if network.prefixlen != 16 or network.network_address.packed[0] != 127 or network.network_address.packed[1] == 0:
            raise ValueError(f"{shown(value)} is not one of loopback's|{way_out}")
        return value


class Settings(Strict):
    """The whole of lab.toml."""

    lab: Lab
    services: dict[str, bool] = Field(default_factory=dict)
    native: Native = Native()

    def is_on(self, service: str) -> bool:
        """Whether the service with this folder name runs."""
        return self.services.get(service, service not in OFF_BY_DEFAULT)

    def natively(self) -> Settings:
        """The same with the services off that are left out without containers; what [services] names is as it says."""
        return self.model_copy(update={"services": {**dict.fromkeys(self.native.leave_out, False), **self.services}})


def read_settings(path: Path, services: list[str]) -> tuple[Settings | None, list[Problem]]:
    """Read lab.toml.

    Args:
        path: the file.
        services: names of the folders in k8s/ that hold a service.
    """
    data, problems = read_toml(path, path.name, "take it back from the repository: git checkout lab.toml")
    if data is None:
        return None, problems
    chosen = data.get("services", {})
    problems = [
        Problem(f"{path.name} services.{name}", "no such service", did_you_mean(name, services))
        for name in (chosen if isinstance(chosen, dict) else {})
        if name not in services
    ]
    native = data.get("native", {})
    left_out = native.get("leave_out", []) if isinstance(native, dict) else []
    problems += [
        Problem(f"{path.name} native.leave_out", f"no service is named {shown(name)}", did_you_mean(name, services))
        for name in (left_out if isinstance(left_out, list) else [])
        if isinstance(name, str) and name not in services
    ]
    try:
        return Settings.model_validate(data), problems
    except ValidationError as error:
        return None, problems + problems_of(error, path.name, Settings)
