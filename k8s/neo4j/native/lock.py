"""For maintainers: writes maven.lock anew (`python k8s/neo4j/native/lock.py 5.26.30`); needs Maven on the PATH.

Maven resolves, since its rules decide which version of a jar wins; the lab then fetches exactly these jars without Maven.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>lock</groupId><artifactId>lock</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.neo4j</groupId><artifactId>neo4j</artifactId><version>{version}</version>
  </dependency></dependencies>
</project>
"""


def resolve(version: str, folder: Path) -> list[str]:
    """The lock's lines: `group:artifact:version[:classifier]:jar sha256`."""
    (folder / "pom.xml").write_text(POM.format(version=version))
    subprocess.run(
        ["mvn", "-q", "-B", "dependency:list", "dependency:copy-dependencies", "-DincludeScope=runtime"]
        + [f"-DoutputFile={folder}/list", f"-DoutputDirectory={folder}/jars"],
        cwd=folder,
        check=True,
    )
    lines = []
    for entry in (folder / "list").read_text().splitlines():
        # "   group:artifact:jar[:classifier]:version:scope -- module …"
        parts = entry.strip().split(" ")[0].split(":")
        if len(parts) < 5 or parts[2] != "jar":
            continue
        group, artifact, _, *classifier, found, _scope = parts
        name = "-".join([artifact, found, *classifier]) + ".jar"
        digest = hashlib.sha256((folder / "jars" / name).read_bytes()).hexdigest()
        lines.append(f"{':'.join([group, artifact, found, *classifier])}:jar {digest}")
    if len(lines) != len(list((folder / "jars").iterdir())):
        sys.exit("Maven's list and its jars differ in number")
    return sorted(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = resolve(sys.argv[1], Path(folder))
    Path(__file__).with_name("maven.lock").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} jars")


if __name__ == "__main__":
    main()
