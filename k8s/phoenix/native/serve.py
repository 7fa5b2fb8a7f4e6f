"""`phoenix serve` on one address, without two things that cost CPU and memory at every start.

- The gRPC server binds all addresses, and no setting changes that: here it binds PHOENIX_HOST, as the HTTP server does.
- Garbage is not collected until the server listens: a start makes millions of objects that stay, and walking them frees nothing.
- Anthropic's client (2,400 modules, 35 MB) is loaded for the name of one type; here, when something else of it is asked for.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from types import ModuleType
from typing import Any

ANTHROPIC = "pydantic_ai.models.anthropic"


def bind_grpc(host: str) -> None:
    """Let gRPC servers that ask for all addresses listen on one."""
    from grpc import aio  # type: ignore[import-untyped]

    make = aio.server

    def server(*args: Any, **kwargs: Any) -> aio.Server:
        made = make(*args, **kwargs)
        add = made.add_insecure_port
        made.add_insecure_port = lambda address: add(address.replace("[::]", host))
        return made

    aio.server = server


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


class Later(ModuleType):
    """A module that is loaded when anything but the type of its settings is asked for."""

    # The real one is a TypedDict: calling it makes a dict.
    AnthropicModelSettings = dict

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def main() -> None:
    """Serve."""
    bind_grpc(os.environ["PHOENIX_HOST"])
    collect_garbage_when_started()
    sys.modules[ANTHROPIC] = Later(ANTHROPIC)
    sys.argv = ["phoenix", "serve"]
    from phoenix.server.main import main as serve

    serve()


if __name__ == "__main__":
    main()
