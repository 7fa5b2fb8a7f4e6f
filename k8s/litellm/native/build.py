"""Generate LiteLLM's database client without a network, and make it quick to import.

`prisma generate` fetches a Node package and four engine binaries to turn a schema into Python. The Python generator itself needs
neither: it reads the schema's description (DMMF), which Prisma's own parser, published as a WebAssembly package, gives.

    build.py <venv> <folder of the node provider> <folder of the prisma-schema provider>
"""

from __future__ import annotations

import compileall
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

DESCRIBE = """
const parser = require(process.argv[1]);
const prismaSchema = require('fs').readFileSync(0, 'utf8');
const config = JSON.parse(parser.get_config(JSON.stringify({ prismaSchema, ignoreEnvVarErrors: true })));
const dmmf = JSON.parse(parser.get_dmmf(JSON.stringify({ prismaSchema })));
process.stdout.write(JSON.stringify({ config, dmmf }));
"""

# What the client uses of prisma.types when it is imported; everything else there describes models to type checkers.
RUNTIME_TYPES = ("DatasourceOverride", "HttpConfig", "MetricsFormat", "Serializable", "SortMode", "SortOrder")
FIRST_FILTER = "\nStringFilter = TypedDict("
TEMPLATE_MARK = "# -- template types.py.jinja --"
MODEL_TYPES = "_model_types"
LAZY = f"""
def __getattr__(name: str) -> Any:
    # Python itself asks each module for __path__ and the like.
    if name.startswith('__'):
        raise AttributeError(name)
    from . import {MODEL_TYPES}

    try:
        value = getattr({MODEL_TYPES}, name)
    except AttributeError:
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}") from None
    globals()[name] = value
    return value
"""


class BuildError(Exception):
    """The generated client is not what this script was written for."""


def without_binary_targets(schema: str) -> str:
    """Drop the list of engine binaries: it would make the client look for them."""
    return "".join(line for line in schema.splitlines(keepends=True) if not line.strip().startswith("binaryTargets"))


def describe(schema: str, node: Path, parser: Path) -> dict[str, Any]:
    done = subprocess.run([node, "-e", DESCRIBE, parser], input=schema.encode(), stdout=subprocess.PIPE, timeout=120, check=True)
    description: dict[str, Any] = json.loads(done.stdout)
    return description


def generate(schema_path: Path, description: dict[str, Any]) -> Path:
    """Run prisma-client-py's generator on what Prisma's CLI would send it; the package's folder."""
    from prisma import config
    from prisma._compat import model_parse
    from prisma.generator.generator import BASE_PACKAGE_DIR, Generator

    generator = Generator()
    request = {
        "datamodel": schema_path.read_text(encoding="utf-8"),
        "version": config.expected_engine_version,
        "dmmf": description["dmmf"],
        "schemaPath": str(schema_path),
        "datasources": description["config"]["datasources"],
        "generator": description["config"]["generators"][0] | {"output": {"value": str(BASE_PACKAGE_DIR), "fromEnvVar": None}},
        "otherGenerators": [],
        # PRISMA_QUERY_ENGINE_BINARY names the engine; the generated client only has to hold one entry.
        "binaryPaths": {"queryEngine": {"native": "/nonexistent/query-engine"}},
    }
    generator.generate(model_parse(generator.data_class, request))
    return Path(BASE_PACKAGE_DIR)


def split_types(source: str) -> tuple[str, str]:
    """Split the generated prisma/types.py in two: what the client needs, and 245,000 lines that only type checkers read.

    Importing them all costs 2 s and 150 MB at each start. They stay available: the first module loads the second when one is asked for.
    """
    if source.count(FIRST_FILTER) != 1 or source.count(TEMPLATE_MARK) != 1:
        raise BuildError("prisma/types.py: not the layout of prisma-client-py 0.11.0; lazy loading must be looked at again")
    light, models = source.split(FIRST_FILTER)
    imports, own = light.split(TEMPLATE_MARK)
    missing = [name for name in RUNTIME_TYPES if not re.search(rf"^(class )?{name}\b", own, re.MULTILINE)]
    if missing:
        raise BuildError(f"prisma/types.py: {', '.join(missing)} no longer stand before the filters")
    names = ", ".join(RUNTIME_TYPES)
    return light + LAZY, f"{imports}from .types import {names}\nfrom .utils import _NoneType\n{FIRST_FILTER}{models}"


def quote_casts(source: str) -> str:
    """typing.cast never looks at its first argument; as a string it doesn't load the type either."""
    return re.sub(r"\bcast\(types\.(\w+),", r"cast('types.\1',", source)


def make_quick(package: Path) -> None:
    types = package / "types.py"
    light, models = split_types(types.read_text(encoding="utf-8"))
    (package / f"{MODEL_TYPES}.py").write_text(models, encoding="utf-8")
    types.write_text(light, encoding="utf-8")
    actions = package / "actions.py"
    actions.write_text(quote_casts(actions.read_text(encoding="utf-8")), encoding="utf-8")


def main(venv: Path, node: Path, parser: Path) -> None:
    import litellm_proxy_extras

    source = Path(litellm_proxy_extras.__file__).parent / "schema.prisma"
    schema = venv / "schema.prisma"
    schema.write_text(without_binary_targets(source.read_text(encoding="utf-8")), encoding="utf-8")
    parser_module = parser / "node_modules" / "@prisma" / "prisma-schema-wasm"
    package = generate(schema, describe(schema.read_text(encoding="utf-8"), node / "bin" / "node", parser_module))
    make_quick(package)
    if not compileall.compile_dir(package, quiet=1, workers=1):
        raise BuildError(f"{package}: the generated client does not compile")


if __name__ == "__main__":
    main(*(Path(argument).absolute() for argument in sys.argv[1:4]))
