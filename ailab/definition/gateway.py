"""gateway/litellm-config.yml: the routes. LiteLLM itself ignores most mistakes in it, so they are found here."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ailab.definition.manifests import load_yaml
from ailab.definition.problems import Problem, did_you_mean, unreadable
from ailab.definition.strict import Strict, problems_of

FILE = "gateway/litellm-config.yml"
ENV = "os.environ/"
FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")


class Route(Strict):
    """One entry of model_list: an alias and where it leads."""

    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any] = Field(default_factory=dict)

    @property
    def secrets(self) -> list[str]:
        """The variables of .env that the route needs."""
        return [v.removeprefix(ENV) for v in self.litellm_params.values() if isinstance(v, str) and v.startswith(ENV)]


class Gateway(Strict):
    """The whole file. The keys within each section are LiteLLM's and pass through."""

    model_list: list[Route]
    litellm_settings: dict[str, Any] = Field(default_factory=dict)
    router_settings: dict[str, Any] = Field(default_factory=dict)
    general_settings: dict[str, Any] = Field(default_factory=dict)
    callback_settings: dict[str, Any] = Field(default_factory=dict)
    environment_variables: dict[str, Any] = Field(default_factory=dict)
    include: list[str] = Field(default_factory=list)
    credential_list: list[Any] = Field(default_factory=list)
    guardrails: list[Any] = Field(default_factory=list)
    mcp_servers: dict[str, Any] = Field(default_factory=dict)
    policies: dict[str, Any] = Field(default_factory=dict)
    policy_attachments: list[Any] = Field(default_factory=list)
    prompts: list[Any] = Field(default_factory=list)
    search_tools: list[Any] = Field(default_factory=list)
    vector_store_registry: list[Any] = Field(default_factory=list)


def read_gateway(root: Path) -> tuple[Gateway | None, list[Problem]]:
    """Read and validate the routes."""
    try:
        text = (root / FILE).read_text("utf-8")
    except FileNotFoundError:
        return None, [Problem(FILE, "the file is missing", f"take it back from the repository: git checkout {FILE}")]
    except (OSError, UnicodeDecodeError) as error:
        return None, [unreadable(FILE, error)]
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


def leads_to(name: str, names: set[str]) -> bool:
    """Whether a model's name is one of the aliases, or matches one that ends in a star."""
    return name in names or any(fnmatchcase(name, pattern) for pattern in names if "*" in pattern)


def _check(gateway: Gateway) -> list[Problem]:
    problems = []
    for i, route in enumerate(gateway.model_list):
        place = f"{FILE} model_list.{i} ({route.model_name})"
        model = route.litellm_params.get("model")
        if not isinstance(model, str):
            problems.append(Problem(place, "litellm_params.model is missing", "write provider/model-id, such as openai/gpt-4.1"))
        elif "/" not in model:
            problems.append(Problem(place, f"litellm_params.model {model!r} names no provider", "write provider/model-id, such as openai/gpt-4.1"))
    names = {r.model_name for r in gateway.model_list}
    for section in ("litellm_settings", "router_settings"):
        settings = getattr(gateway, section)
        for key in FALLBACKS:
            problems += _fallbacks(settings.get(key), f"{FILE} {section}.{key}", names)
        default = settings.get("default_fallbacks")
        place = f"{FILE} {section}.default_fallbacks"
        if default is not None and not isinstance(default, list):
            problems.append(Problem(place, "not a list of models", "write [model, …]"))
        for name in default if isinstance(default, list) else []:
            problems += _named(name, place, names)
    return problems


def _fallbacks(entries: Any, place: str, names: set[str]) -> list[Problem]:
    if entries is None:
        return []
    shape = Problem(place, "not a list of {model: [fallback, …]}", "write - model: [fallback, …]")
    if not isinstance(entries, list):
        return [shape]
    problems = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(isinstance(v, list) for v in entry.values()):
            problems.append(shape)
            continue
        for source, targets in entry.items():
            for name in [source, *targets]:
                problems += _named(name, f"{place}.{i}", names) if name != "*" else []
    return problems


def _named(name: Any, place: str, names: set[str]) -> list[Problem]:
    if isinstance(name, str) and leads_to(name, names):
        return []
    return [Problem(place, f"no model is named {name!r}", did_you_mean(str(name), names))]
