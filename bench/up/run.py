"""How long `./lab up` takes, beside what its parts cost: `python bench/up/run.py [--rounds N]`, from the repository's root.

Each round copies the tracked files to a folder of their own, brings the lab up there with a warm store, asks for a first chat the moment the
gateway is ready, and waits for all services. Everything is measured in the one run: wall time, the CPU time of all the lab's processes,
and their idle memory beside that of each service started alone. Figures are ratios of these; the absolute ones are for the reader.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from ailab.runtime.native import process

ROOT = Path(__file__).resolve().parents[2]
NETWORK, PORT = "127.95.0.0/16", 18895
_REST_S = 5
_TICKS = os.sysconf("SC_CLK_TCK")


def copy(folder: Path) -> None:
    """The tracked files, with a network and a port of their own."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    with (folder / "lab.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'network = "{NETWORK}"\nport = {PORT}\n')


def cpu_seconds(members: set[int]) -> float:
    """User and system time of processes and of the children that they have waited for."""
    total = 0
    for pid in members:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


class FirstChat(threading.Thread):
    """Asks for a chat, again and again, until one is answered."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.began, self.seconds = folder, time.monotonic(), 0.0

    def run(self) -> None:
        from ailab.runtime.native.addresses import assign

        services = sorted(p.parent.name for p in (self.folder / "k8s").glob("*/service.yml"))
        url = f"http://{assign(services, NETWORK)['litellm']}:4000/v1/chat/completions"
        body = {"model": "local/smollm2", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        while not self.seconds:
            try:
                env = (self.folder / ".env").read_text()
                key = next(line.split("=", 1)[1] for line in env.splitlines() if line.startswith("LITELLM_MASTER_KEY="))
                answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)
                if answer.status_code == 200:
                    self.seconds = time.monotonic() - self.began
            except (httpx.HTTPError, OSError, StopIteration):
                time.sleep(0.05)


def measure(folder: Path) -> dict[str, Any]:
    """One warm start: seconds, CPU seconds, MB."""
    chat = FirstChat(folder)
    chat.start()
    began = time.monotonic()
    done = subprocess.run(["./lab", "up", "--json"], cwd=folder, capture_output=True, text=True, check=False)
    ready = time.monotonic() - began
    status = json.loads(done.stdout)
    members = process.tree([], process.Mark.of(status["lab"]))
    members |= process.tree([c["pid"] for p in status["pods"] for c in p["containers"] if c["pid"]])
    cpu = cpu_seconds(members)
    chat.join(60)
    began = time.monotonic()
    again = subprocess.run(["./lab", "up"], cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    nothing = time.monotonic() - began
    return {
        "ready_s": ready,
        "first_chat_s": chat.seconds,
        "nothing_to_do_s": nothing,
        "cpu_s": cpu,
        "cores": os.cpu_count() or 1,
        "ready_in": {p["name"]: p["ready_in"] for p in status["pods"] if p["ready"]},
        "not_ready": [p["name"] for p in status["pods"] if not p["ready"]],
    }


def resting(folder: Path, *services: str) -> dict[str, Any]:
    """Start the lab or some services, let them rest, and take the status."""
    subprocess.run(["./lab", "down"], cwd=folder, capture_output=True, check=True)
    subprocess.run(["./lab", "up", *services], cwd=folder, capture_output=True, check=False)
    time.sleep(_REST_S)
    status: dict[str, Any] = json.loads(subprocess.run(["./lab", "status", "--json"], cwd=folder, capture_output=True, text=True, check=False).stdout)
    return status


def idle_memory(folder: Path) -> tuple[float, float]:
    """Idle PSS in MB of the whole lab with its supervisor, and the sum of its services each started alone, with the database."""
    status = resting(folder)
    whole = {p["name"]: p["memory_mb"] for p in status["pods"] if p["ready"]}
    # With the database, without which most of them do not get ready.
    alone = {n: next(p["memory_mb"] for p in resting(folder, n, "postgresql")["pods"] if p["name"] == n) for n in whole}
    print(json.dumps({"whole_mb": {n: round(m) for n, m in whole.items()}, "alone_mb": {n: round(m) for n, m in alone.items()}}, indent=1))
    return sum(whole.values()) + status["supervisor_mb"], sum(alone.values())


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="ailab-bench-") as name:
        folder = Path(name)
        copy(folder)
        subprocess.run(["./lab", "up"], cwd=folder, capture_output=True, check=False)  # fills the store, makes the databases
        results = []
        try:
            for _ in range(rounds):
                subprocess.run(["./lab", "down"], cwd=folder, capture_output=True, check=True)
                results.append(measure(folder))
            whole, alone = idle_memory(folder)
        finally:
            subprocess.run(["./lab", "down"], cwd=folder, capture_output=True, check=True)
    print(json.dumps(results, indent=1))
    median = {k: statistics.median(r[k] for r in results) for k in ("ready_s", "first_chat_s", "nothing_to_do_s", "cpu_s")}
    bound = median["cpu_s"] / results[0]["cores"]
    print(f"all ready {median['ready_s']:.1f} s, first chat {median['first_chat_s']:.1f} s, nothing to do {median['nothing_to_do_s']:.2f} s")
    print(f"the parts' CPU time {median['cpu_s']:.1f} s on {results[0]['cores']} cores: at least {bound:.1f} s")
    print(f"ratio all ready / bound      {median['ready_s'] / bound:.2f}")
    print(f"ratio first chat / bound     {median['first_chat_s'] / bound:.2f}")
    print(f"ratio idle memory / parts    {whole / alone:.3f}  (PSS {whole:.0f} MB, the parts alone {alone:.0f} MB)")


if __name__ == "__main__":
    main()
