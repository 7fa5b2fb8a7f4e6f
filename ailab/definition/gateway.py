"""gateway/litellm-config.yml: the routes. LiteLLM itself ignores most mistakes in it, so they are found here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ailab.definition.manifests import load_yaml
from ailab.definition.problems import Problem, did_you_mean
from ailab.definition.settings import Strict, problems_of

FILE = "gateway/litellm-config.yml"
ENV = "os.environ/"


class Route(Strict):
    """One entry of model_list: an alias and where it leads."""

    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any] = Field(default_factory=dict)

    @property
    def secrets(self) -> list[str]:
        """The variables of .env that the route needs."""
        return [v.removeprefix(ENV) for v in self.litellm_params.values() if isinstance(v, str) and v.startswith(ENV)]


class Gateway(BaseModel):
    """The whole file. The settings' own keys are LiteLLM's and pass through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model_list: list[Route]
    litellm_settings: dict[str, Any] = Field(default_factory=dict)
    router_settings: dict[str, Any] = Field(default_factory=dict)
    general_settings: dict[str, Any] = Field(default_factory=dict)
    callback_settings: dict[str, Any] = Field(default_factory=dict)
    environment_variables: dict[str, Any] = Field(default_factory=dict)
    include: list[str] = Field(default_factory=list)


def read_gateway(root: Path) -> tuple[Gateway | None, list[Problem]]:
    """Read and validate the routes."""
    try:
        text = (root / FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(FILE, f"cannot be read: {error.__class__.__name__}", "take it back: git checkout gateway")]
    data, problems = load_yaml(text, FILE)
    if problems:
        return None, problems
    if not isinstance(data, dict):
        return None, [Problem(FILE, "not a mapping", "it begins with model_list:")]
    try:
        gateway = Gateway.model_validate(data)
    except ValidationError as error:
        return None, problems_of(error, FILE, Gateway)
    return gateway, _check(gateway)


def _check(gateway: Gateway) -> list[Problem]:
    problems = []
    for i, route in enumerate(gateway.model_list):
        place = f"{FILE} model_list.{i}.litellm_params.model"
        model = route.litellm_params.get("model")
        if not isinstance(model, str):
            problems.append(Problem(place, "this key is required", "write provider/model-id, such as openai/gpt-4.1"))
        elif "/" not in model:
            problems.append(Problem(place, f"{model!r} names no provider", "write provider/model-id, such as openai/gpt-4.1"))
    names = {r.model_name for r in gateway.model_list}
    for section in ("litellm_settings", "router_settings"):
        settings = getattr(gateway, section)
        for key in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"):
            problems += _fallbacks(settings.get(key), f"{FILE} {section}.{key}", names)
        for name in settings.get("default_fallbacks") or []:
            if name not in names:
                problems.append(Problem(f"{FILE} {section}.default_fallbacks", f"no model is named {name!r}", did_you_mean(name, names)))
    return problems


def _fallbacks(entries: Any, place: str, names: set[str]) -> list[Problem]:
    if entries is None:
        return []
    shape = Problem(place, "not a list of {model: [fallback, …]}", "see LiteLLM's reliability settings")
    if not isinstance(entries, list):
        return [shape]
    problems = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(isinstance(v, list) for v in entry.values()):
            problems.append(shape)
            continue
        for source, targets in entry.items():
            for name in [source, *targets]:
                if name != "*" and not (isinstance(name, str) and name in names):
                    problems.append(Problem(f"{place}.{i}", f"no model is named {name!r}", did_you_mean(str(name), names)))
    return problems
