"""After installing: `prometheus` at the top of the provider's folder, wherever its source put the program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

folder = Path(sys.argv[1])
# Debian's layout, then `go install`'s; the vendor's archive has it at the top already.
for place in ("usr/bin", "bin"):
    if (folder / place / "prometheus").exists():
        os.symlink(f"{place}/prometheus", folder / "prometheus")
# promtool is as large as the server, and nothing here calls it.
for program in folder.glob("**/promtool"):
    program.unlink()
