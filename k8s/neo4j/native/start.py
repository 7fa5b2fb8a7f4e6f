"""What the image's entrypoint does, natively: settings from the environment, the first password, then Neo4j in this process' place.

Called as `start.py JAVA NEO4J`: the program `java`, and the folder that build.py made ready.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

# Variables that the image doesn't take for settings either.
NOT_SETTINGS = {"NEO4J_AUTH", "NEO4J_EDITION", "NEO4J_HOME", "NEO4J_PLUGINS", "NEO4J_DEBUG"}
# Made by build.py, beside the jars: `-cp` with all of them, and the classes of a start as the JVM maps them into memory.
CLASS_PATH, ARCHIVE = "class-path", "classes.jsa"
# At the address that it was made for: moved elsewhere, every page of it would be the process' own memory, 90 MB.
MAP = ("-XX:+UnlockDiagnosticVMOptions", "-XX:ArchiveRelocationMode=0")
MAIN = "org.neo4j.server.CommunityEntryPoint"
# How Neo4j 5 hashes a password (org.neo4j.server.security.SecureHasher).
ITERATIONS = 1024
# Neo4j's own list (neo4j-admin server console --dry-run), less what only its metrics need.
OPENED = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch", "java.base/java.util.concurrent")
# The second compiler's thresholds are fifty times the usual: a start runs little often enough to be worth its work, heavy queries still do.
FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:Tier4InvocationThreshold=250000",
    "-XX:Tier4MinInvocationThreshold=30000",
    "-XX:Tier4CompileThreshold=750000",
    "-XX:Tier4BackEdgeThreshold=2000000",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dlog4j2.disable.jmx=true",
    "-Djava.awt.headless=true",
    "-Dfile.encoding=UTF-8",
    # A plain IPv4 socket, not the IPv6 one that maps it.
    "-Djava.net.preferIPv4Stack=true",
)


def settings(env: dict[str, str]) -> dict[str, str]:
    """NEO4J_db_tx__log_preallocate → db.tx_log.preallocate, as the image does it."""
    found = {}
    for name, value in env.items():
        if name.startswith("NEO4J_") and name not in NOT_SETTINGS and value:
            key = name.removeprefix("NEO4J_").replace("__", "\0").replace("_", ".").replace("\0", "_")
            found[key] = value
    return found


def auth_line(password: str, salt: bytes) -> str:
    """The line of auth.ini that `neo4j-admin dbms set-initial-password` writes, which takes the password as an argument only."""
    digest = hashlib.sha256(salt + password.encode()).digest()
    for _ in range(ITERATIONS - 1):
        digest = hashlib.sha256(digest).digest()
    return f"neo4j:SHA-256,{digest.hex()},{salt.hex()},{ITERATIONS}:\n"


def set_first_password(data: Path, auth: str) -> None:
    """Read by Neo4j when it makes the system database, and never after."""
    if (data / "databases" / "system").exists():
        return
    user, _, password = auth.partition("/")
    if user != "neo4j" or len(password) < 8:
        sys.exit("neo4j: NEO4J_PASSWORD must have at least 8 characters; set it in .env")
    folder = data / "dbms"
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "auth.ini.new"
    whole.unlink(missing_ok=True)
    whole.touch(mode=0o600)
    whole.write_text(auth_line(password, os.urandom(32)))
    whole.replace(folder / "auth.ini")


def java_command(java: str, folder: Path, conf: dict[str, str], *flags: str) -> list[str]:
    """Neo4j's command line but for its folders; the archive fits only a JVM that is called with the same class path."""
    return [
        java,
        f"-Xms{conf['server.memory.heap.initial_size']}",
        f"-Xmx{conf['server.memory.heap.max_size']}",
        *FLAGS,
        *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED),
        *flags,
        f"@{folder / CLASS_PATH}",
        MAIN,
    ]


def write_conf(home: Path, conf: dict[str, str]) -> list[str]:
    """neo4j.conf below `home`, and the arguments that lead Neo4j to it; its log goes to the console, as in the image."""
    (home / "conf").mkdir(exist_ok=True)
    (home / "conf" / "neo4j.conf").write_text("".join(f"{key}={value}\n" for key, value in sorted(conf.items())))
    return [f"--home-dir={home}", f"--config-dir={home}/conf", "--console-mode"]


def main() -> None:
    java, folder = sys.argv[1], Path(sys.argv[2])
    conf = settings(dict(os.environ))
    set_first_password(Path(conf["server.directories.data"]), os.environ.get("NEO4J_AUTH", ""))
    archive = folder / ARCHIVE
    flags = [*MAP, f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []
    argv = java_command(java, folder, conf, *flags) + write_conf(Path.cwd(), conf)
    # The server needs no password in its environment.
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEO4J_") and name != "GRAPH_PASSWORD"}
    sys.stdout.flush()
    os.execve(java, argv, env)


if __name__ == "__main__":
    main()
