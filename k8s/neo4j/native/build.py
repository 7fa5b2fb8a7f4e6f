"""After installing: what makes Neo4j start with a third of the CPU time. Called as `build.py JAVA NEO4J`.

Two jars lose their signatures (their hashes were checked when they were fetched, and the JVM would check each class anew at every
start), and one start in an empty folder leaves an archive of the classes that it loaded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from urllib.parse import quote

from start import ARCHIVE, CLASS_PATH, java_command, write_conf

MANIFEST = "META-INF/MANIFEST.MF"
BOUND_S = 180
# Nothing runs long enough here to be worth the second compiler, and what is left out of the archive is no news.
ONCE = ("-XX:TieredStopAtLevel=1", "-Xlog:disable")
CONF = {
    "server.memory.heap.initial_size": "256m",
    "server.memory.heap.max_size": "256m",
    "server.memory.pagecache.size": "16m",
    "server.default_listen_address": "127.0.0.1",
    "server.bolt.listen_address": "127.0.0.1:0",
    "server.http.listen_address": "127.0.0.1:0",
    "dbms.security.auth_enabled": "false",
    "dbms.usage_report.enabled": "false",
    "db.tx_log.preallocate": "false",
    "internal.server.bolt.thread_pool_shutdown_wait_time": "0s",
    "internal.server.bolt.connection_shutdown_wait_time": "0s",
}


def plain_manifest(text: bytes) -> bytes:
    """Its first part alone, since digests stand behind it, and no Class-Path, for which Java 21 refuses the archive."""
    main = re.split(rb"(?<=\n)\r?\n", text)[0]
    return re.sub(rb"^Class-Path:.*\n(?: .*\n)*", b"", main, flags=re.MULTILINE) + b"\n"


def make_plain(jar: Path) -> None:
    """The same jar without signature, if it has one, and without jars of its own choice on the class path, where all are already."""
    with zipfile.ZipFile(jar) as old:
        names = [i for i in old.infolist() if not re.fullmatch(r"META-INF/[^/]+\.(SF|RSA|DSA|EC)", i.filename)]
        has_path = MANIFEST in old.namelist() and b"\nClass-Path:" in old.read(MANIFEST)
        if len(names) == len(old.infolist()) and not has_path:
            return
        new = jar.with_suffix(".new")
        with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as plain:
            for info in names:
                content = old.read(info)
                plain.writestr(info, plain_manifest(content) if info.filename == MANIFEST else content)
    # Never in place: the installer's cache may share the file.
    new.replace(jar)


def write_class_path(folder: Path) -> None:
    """Largest first: the JVM asks the jars in this order for each class, and large ones have most."""
    jars = sorted(folder.glob("*.jar"), key=lambda jar: (-jar.stat().st_size, jar.name))
    quoted = ":".join(map(str, jars)).replace("\\", "\\\\").replace('"', '\\"')
    (folder / CLASS_PATH).write_text(f'-cp "{quoted}"\n')


def make_archive(java: str, folder: Path) -> None:
    """Start and stop once; the JVM writes the archive on its way out."""
    new = folder / f"{ARCHIVE}.new"
    with tempfile.TemporaryDirectory(prefix="neo4j-") as home:
        log = Path(home) / "log"
        argv = java_command(java, folder, CONF, *ONCE, f"-XX:ArchiveClassesAtExit={new}")
        with log.open("wb") as out:
            server = subprocess.Popen(argv + write_conf(Path(home), CONF), cwd=home, stdout=out, stderr=out)
        try:
            end = time.monotonic() + BOUND_S
            while "Started." not in log.read_text():
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("it did not start: " + log.read_text()[-500:])
                time.sleep(0.3)
            server.terminate()
            server.wait(BOUND_S)
        finally:
            server.kill()
            server.wait()
    new.replace(folder / ARCHIVE)


def main() -> None:
    java, folder = sys.argv[1], Path(sys.argv[2])
    for jar in sorted(folder.glob("*.jar")):
        make_plain(jar)
    write_class_path(folder)
    if quote(str(folder)) != str(folder):
        print(f"neo4j: no archive of classes, since the JVM takes none from a path like {folder}; it starts more slowly", file=sys.stderr)
        return
    # Others wait for their programs too; Neo4j isn't what the first chat needs.
    os.nice(10)
    try:
        make_archive(java, folder)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"neo4j: no archive of classes ({error}); it starts without, more slowly", file=sys.stderr)


if __name__ == "__main__":
    main()
