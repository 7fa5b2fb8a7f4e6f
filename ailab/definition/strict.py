"""Typed data that refuses what it doesn't know, and pydantic's errors in our own words."""

from __future__ import annotations

import json
import tomllib
import types
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from ailab.definition.problems import Problem, did_you_mean, unreadable


class Strict(BaseModel):
    """Unknown keys are errors; values keep the type they are written in."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# The parser's words for the commonest mistakes don't tell what to do.
_TOML = {
    "Cannot overwrite a value": ("a key that stands twice", "keep one of the two"),
    "Illegal character '\\n'": ("a text that does not end on its line", "close its quotes"),
    "Invalid value": ("what stands here is no value", "text stands in quotes"),
}


def read_toml(path: Path, place: str, missing: str) -> tuple[dict[str, Any] | None, list[Problem]]:
    """A TOML file as plain data, or what is wrong with it.

    Args:
        missing: the way out when there is no such file.
    """
    try:
        return tomllib.loads(path.read_text("utf-8")), []
    except FileNotFoundError:
        return None, [Problem(place, "the file is missing", missing)]
    except tomllib.TOMLDecodeError as error:
        cause, _, at = str(error).partition(" (at ")
        line, _, column = at.removesuffix(")").removeprefix("line ").partition(", column ")
        where = f"{place}:{line}:{column}" if column else place
        what, way_out = _TOML.get(cause, (cause[:1].lower() + cause[1:], "mend the syntax at or before this place"))
        return None, [Problem(where, f"no valid TOML: {what}", way_out)]
    except (OSError, UnicodeDecodeError) as error:
        return None, [unreadable(place, error)]


def problems_of(error: ValidationError, file: str, model: type[BaseModel]) -> list[Problem]:
    """Pydantic's errors in our own words, each with its path within the file."""
    return [_problem(e, file, model) for e in error.errors()]


_PLAIN = {
    "string_type": ("text", "put it in quotes"),
    "bool_type": ("true or false", "write it without quotes"),
    "int_type": ("a whole number", "write digits without quotes"),
    "float_type": ("a number", "write it without quotes"),
    "list_type": ("a list", "write [ … ]"),
    "dict_type": ("a table", "write keys with values"),
    "model_type": ("a table", "write keys with values"),
    "model_attributes_type": ("a table", "write keys with values"),
}


def _problem(e: Any, file: str, model: type[BaseModel]) -> Problem:
    kind, value = e["type"], e["input"]
    place, allowed = f"{file} {_path(e['loc'], model)}".strip(), _model_at(model, e["loc"][:-1])
    if kind == "extra_forbidden":
        return Problem(place, "unknown key", did_you_mean(str(e["loc"][-1]), _keys(allowed)))
    if kind == "missing":
        return Problem(place, "this key is missing", f"required: {_word(allowed, e['loc'][-1])}")
    if kind == "invalid_key":
        return Problem(place, "a key that is not text", "put it in quotes")
    if kind in _PLAIN:
        what, way_out = _PLAIN[kind]
        if value is None:
            return Problem(place, "this key has no value", f"write {what}, or leave the key out")
        if kind == "string_type" and isinstance(value, dict | list):
            way_out = "write one text"
        return Problem(place, f"{shown(value)} is not {what}", way_out)
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = e["ctx"].get("ge", e["ctx"].get("le"))
        return Problem(place, f"{shown(value)} is out of range", f"at {'least' if kind.startswith('greater') else 'most'} {bound}")
    if kind == "literal_error":
        return Problem(place, f"{shown(value)} is not allowed", f"allowed: {e['ctx']['expected'].replace(chr(39), '')}")
    if kind == "union_tag_invalid":
        words = [w.strip(" '") for w in e["ctx"]["expected_tags"].split(",")]
        return Problem(f"{place}.kind", f"no kind is named {e['ctx']['tag']!r}", did_you_mean(str(e["ctx"]["tag"]), words))
    if kind == "union_tag_not_found":
        return Problem(f"{place}.kind", "this key is missing", "required: text")
    if kind == "too_short":
        return Problem(place, "this list is empty", "write at least one entry")
    if kind == "value_error" and "|" in str(e["ctx"]["error"]):
        what, way_out = str(e["ctx"]["error"]).split("|", 1)
        return Problem(place, what, way_out)
    return Problem(place, f"{shown(value)} does not fit", "see the comments on this key")


def shown(value: Any) -> str:
    """A value as TOML and YAML write it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def _path(loc: tuple[Any, ...], model: Any) -> str:
    """The path as the file has it: without the union tags that pydantic puts in."""
    parts = []
    for part in loc:
        model, written = _step(model, part)
        if written:
            parts.append("(key)" if part == "[key]" else str(part))
    return ".".join(parts)


def _model_at(model: Any, loc: tuple[Any, ...]) -> Any:
    for part in loc:
        model, _ = _step(model, part)
    return model


def _step(annotation: Any, part: Any) -> tuple[Any, bool]:
    """What stands at one part of a path, and whether the file has that part."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        for inner in args:  # a tag of pydantic's: the model whose `kind` it is
            if _is_model(inner) and "kind" in inner.model_fields and part in get_args(inner.model_fields["kind"].annotation):
                return inner, False
        rest = [a for a in args if a is not type(None)]
        return _step(rest[0], part) if len(rest) == 1 else (None, True)
    if origin in (list, tuple):
        return args[0], True
    if origin is dict:
        return args[1], True
    if _is_model(annotation):
        field: FieldInfo | None = next((f for n, f in annotation.model_fields.items() if part in (n, f.alias)), None)
        return (field.annotation if field else None), True
    return None, True


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _keys(model: Any) -> list[str]:
    return [f.alias or name for name, f in model.model_fields.items()] if _is_model(model) else []


def _word(model: Any, key: Any) -> str:
    """What the value of a key is, in one word."""
    annotation, _ = _step(model, key)
    words = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
    if _is_model(annotation):
        return "a table"
    return words.get(get_origin(annotation) or annotation, "a value")
