"""Start LiteLLM natively: what its image does before the server starts, and then the server with the manifest's own arguments.

The database is looked at, and migrated if need be, while LiteLLM's modules are imported, which takes several seconds of CPU.
"""

from __future__ import annotations

import gc
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from migrate import MigrationError, migrate


def migrations() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("litellm_proxy_extras")
    if spec is None or spec.origin is None:
        raise MigrationError("litellm_proxy_extras is not installed: its folder holds the migrations")
    return Path(spec.origin).parent / "migrations"


def prepare(url: str) -> None:
    """Apply what is missing, then LiteLLM's indexes that no migration builds."""

    def say(line: str) -> None:
        print(f"start: {line}", file=sys.stderr, flush=True)

    if migrate(url, migrations(), say=say):
        from litellm_proxy_extras.utils import ProxyExtrasDBManager

        ProxyExtrasDBManager.build_request_log_indexes()
        say("the database is migrated")


def main() -> None:
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("start: DATABASE_URL is not set: it comes from k8s/litellm/deployment.yml")
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="migrate") as pool:
        prepared: Future[None] = pool.submit(prepare, url)
        # A million objects are made that all stay: looking for garbage among them is a quarter of the import's time, and a pause of
        # half a second at each full collection later on.
        gc.disable()
        import litellm.proxy.proxy_server  # noqa: F401

        gc.freeze()
        gc.enable()
        try:
            prepared.result()
        except MigrationError as error:
            sys.exit(f"start: {error}")

    from litellm.proxy.proxy_cli import run_server

    sys.argv[0] = "litellm"
    run_server()


if __name__ == "__main__":
    main()
