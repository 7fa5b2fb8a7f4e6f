"""`open-webui serve`, without two things that cost CPU at every start: `serve.py <file with the newest migration> [arguments]`.

- Garbage is not collected until the server listens: a start makes millions of objects that stay, and walking them frees nothing.
- A database whose newest migration is the program's own is not migrated: reading all 67 migrations takes half a second.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any


def collect_garbage_when_started() -> None:
    """No garbage collection until uvicorn has started; then what is there counts as permanent."""
    import uvicorn

    gc.disable()
    start = uvicorn.Server.startup

    async def startup(self: uvicorn.Server, *args: Any, **kwargs: Any) -> None:
        await start(self, *args, **kwargs)
        gc.freeze()
        gc.enable()

    uvicorn.Server.startup = startup  # type: ignore[method-assign]


def is_migrated(url: str, head: str) -> bool:
    """Whether the database has the newest migration; False also when it can't be asked: Open WebUI then tells why."""
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]
    except psycopg.Error:
        return False


def main() -> None:
    """Serve."""
    head, arguments = Path(sys.argv[1]).read_text("utf-8"), sys.argv[2:]
    collect_garbage_when_started()
    if is_migrated(os.environ["DATABASE_URL"], head):
        os.environ["ENABLE_DB_MIGRATIONS"] = "false"
    sys.argv = ["open-webui", "serve", *arguments]
    from open_webui import app  # type: ignore[import-untyped]

    app()


if __name__ == "__main__":
    main()
