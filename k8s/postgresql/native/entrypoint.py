"""What the image's entrypoint does, natively: make the cluster when there is none, then become the server.

Called as `entrypoint.py BIN postgres [option…]`, BIN being the folder of PostgreSQL's programs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def make_cluster(bin_dir: Path, data: Path, password: str, options: list[str]) -> None:
    """initdb beside the final place, renamed when it is whole: a kill in the middle leaves nothing that looks like a cluster."""
    half_done = data.with_name(data.name + ".new")
    shutil.rmtree(half_done, ignore_errors=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    # A pipe, since initdb takes the password from a file only and none is to lie on the disk.
    os.write(write_end, password.encode() + b"\n")
    os.close(write_end)
    done = subprocess.run(
        [bin_dir / "initdb", "-D", half_done, "--username=postgres", f"--pwfile=/dev/fd/{read_end}", *options],
        pass_fds=[read_end],
        stdin=subprocess.DEVNULL,
    )
    os.close(read_end)
    if done.returncode != 0:
        sys.exit(f"postgresql: initdb failed with exit code {done.returncode}; its own words stand above")
    # The image's entrypoint adds the same line: over the network, every role proves itself by its password.
    with (half_done / "pg_hba.conf").open("a") as hba:
        hba.write("\nhost all all all scram-sha-256\n")
    half_done.rename(data)


def main() -> None:
    bin_dir, program, *options = sys.argv[1:]
    data = Path(os.environ["PGDATA"])
    if not (data / "PG_VERSION").exists():
        if data.exists() and any(data.iterdir()):
            sys.exit(f"postgresql: {data} holds files but no database; move them away")
        password = os.environ.get("POSTGRES_PASSWORD", "")
        if not password:
            sys.exit("postgresql: POSTGRES_PASSWORD is empty; set it in .env")
        make_cluster(Path(bin_dir), data, password, shlex.split(os.environ.get("POSTGRES_INITDB_ARGS", "")))
    # The server needs no secret, and what it starts would inherit them.
    env = {name: value for name, value in os.environ.items() if not name.endswith("_PASSWORD")}
    sys.stdout.flush()
    os.execve(Path(bin_dir) / program, [program, *options], env)


if __name__ == "__main__":
    main()
