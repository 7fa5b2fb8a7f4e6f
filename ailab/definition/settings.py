"""lab.toml as typed data; the file's own comments are the manual."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from ailab.definition.problems import Problem, did_you_mean

OFF_BY_DEFAULT = frozenset({"ollama", "vllm"})
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Strict(BaseModel):
    """Unknown keys are errors; values keep the type they are written in."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Lab(Strict):
    """[lab]: names."""

    tailnet: str
    host: str = "gpu-lab"

    @field_validator("tailnet", "host")
    @classmethod
    def _label(cls, value: str) -> str:
        if not _LABEL.fullmatch(value):
            raise ValueError(f"{value!r} is no DNS label|lower-case letters, digits and hyphens, 63 at most")
        return value


class Native(Strict):
    """[native]: the runtime without containers."""

    network: str = "127.77.0.0/16"
    port: Annotated[int, Field(ge=1024, le=65535)] = 8800
    parallel_starts: Annotated[int, Field(ge=0, le=64)] = 0
    log_max_mb: Annotated[int, Field(ge=1, le=1000)] = 10
    log_files: Annotated[int, Field(ge=2, le=100)] = 5
    ready_timeout_s: Annotated[int, Field(ge=10, le=3600)] = 180

    @field_validator("network")
    @classmethod
    def _loopback(cls, value: str) -> str:
        way_out = "a /16 within 127.0.0.0/8 but 127.0.0.0/16, such as 127.77.0.0/16"
        try:
            network = ipaddress.IPv4Network(value)
        except ValueError:
            raise ValueError(f"{value!r} is no IPv4 network|{way_out}") from None
        if network.prefixlen != 16 or network.network_address.packed[0] != 127 or network.network_address.packed[1] == 0:
            raise ValueError(f"{value!r} is not such a network|{way_out}")
        return value


class Settings(Strict):
    """The whole of lab.toml."""

    lab: Lab
    services: dict[str, bool] = Field(default_factory=dict)
    native: Native = Native()

    def is_on(self, service: str) -> bool:
        """Whether the service with this folder name runs."""
        return self.services.get(service, service not in OFF_BY_DEFAULT)


def read_settings(path: Path, services: list[str]) -> tuple[Settings | None, list[Problem]]:
    """Read lab.toml.

    Args:
        path: the file.
        services: names of the folders in k8s/ that hold a service.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None, [Problem(path.name, "the file is missing", "take it back from the repository: git checkout lab.toml")]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return None, [Problem(path.name, f"no valid TOML: {error}", "see toml.io for the format")]
    problems = [
        Problem(f"{path.name} services.{name}", "no such service", did_you_mean(name, services))
        for name in data.get("services", {})
        if name not in services
    ] if isinstance(data.get("services", {}), dict) else []
    try:
        return Settings.model_validate(data), problems
    except ValidationError as error:
        return None, problems + problems_of(error, path.name, Settings)


def problems_of(error: ValidationError, file: str, model: type[BaseModel]) -> list[Problem]:
    """Pydantic's errors in our own words, each with its path within the file."""
    return [_problem(e, file, model) for e in error.errors()]


_PLAIN = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}


def _problem(e: Any, file: str, model: type[BaseModel]) -> Problem:
    place = f"{file} {'.'.join(map(str, e['loc']))}".strip()
    kind, value = e["type"], e["input"]
    if kind == "extra_forbidden":
        return Problem(place, "unknown key", did_you_mean(str(e["loc"][-1]), _keys(model, e["loc"][:-1])))
    if kind == "missing":
        return Problem(place, "this key is required", "write it")
    if kind in _PLAIN:
        return Problem(place, f"{value!r} is not {_PLAIN[kind]}", f"write {_PLAIN[kind]}")
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = e["ctx"].get("ge", e["ctx"].get("le"))
        word = "at least" if kind.startswith("greater") else "at most"
        return Problem(place, f"{value!r} is out of range", f"{word} {bound}")
    if kind == "literal_error":
        return Problem(place, f"{value!r} is not allowed", f"allowed: {e['ctx']['expected']}")
    if kind == "value_error" and "|" in str(e["ctx"]["error"]):
        what, way_out = str(e["ctx"]["error"]).split("|", 1)
        return Problem(place, what, way_out)
    return Problem(place, f"{value!r} does not fit", str(e["msg"]))


def _keys(model: Any, loc: tuple[Any, ...]) -> list[str]:
    """The keys that the model allows at a place; follows tables, maps and lists of models."""
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            fields: dict[str, FieldInfo] = model.model_fields
            if part not in fields:
                return []
            model = _model_in(fields[part].annotation)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [f.alias or name for name, f in model.model_fields.items()]
    return []


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return annotation
