"""`chat`: a question to a model through the gateway, the answer as it comes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ailab.cli.output import emit, fail
from ailab.definition.load import Definition, load
from ailab.definition.problems import DefinitionError, did_you_mean
from ailab.render.routes import active_routes
from ailab.runtime.native.addresses import assign

_PORT = 4000


def gateway_url(definition: Definition) -> str:
    """Where the gateway answers natively."""
    names = [m.name for m in definition.manifests if m.kind == "Service"]
    return f"http://{assign(names, definition.settings.native.network)['litellm']}:{_PORT}"


def chat(root: Path, message: str, model: str, as_json: bool) -> int:
    """Send one message and print the answer."""
    import httpx

    try:
        definition = load(root).natively()
    except DefinitionError as error:
        fail(*error.problems)
    models = [r.model_name for r in active_routes(definition) if r.model_info.get("mode", "chat") == "chat"]
    if model and model not in models and not any("*" in m for m in models):
        fail(f"no model is named {model!r} ({did_you_mean(model, models)})", code=2)
    if not models:
        fail("the gateway has no chat model (turn llama-cpp on in lab.toml, or put a provider's key into .env)")
    text = sys.stdin.read() if message == "-" else message
    if not text.strip():
        fail("nothing to say (give the message as an argument, or - and text on standard input)", code=2)
    body = {"model": model or models[0], "messages": [{"role": "user", "content": text}], "stream": True}
    key = definition.secrets.get("LITELLM_MASTER_KEY", "")
    answer = []
    try:
        with (
            httpx.Client(base_url=gateway_url(definition), timeout=httpx.Timeout(600, connect=5), trust_env=False) as http,
            http.stream("POST", "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}) as response,
        ):
            if response.status_code != 200:
                fail(f"the gateway refused: {_reason(response.read())}")
            for line in response.iter_lines():
                if (piece := _piece(line)) is not None:
                    answer.append(piece)
                    if not as_json:
                        print(piece, end="", flush=True)
    except httpx.ConnectError:
        fail("the gateway does not answer (./lab up starts the lab, ./lab status shows it)")
    except httpx.HTTPError as error:
        fail(f"the answer broke off: {type(error).__name__} {error} (./lab logs litellm)")
    except KeyboardInterrupt:
        return 130
    if as_json:
        emit({"model": body["model"], "answer": "".join(answer)})
    else:
        print()
    return 0


def _piece(line: str) -> str | None:
    """The text in one server-sent event; None when it holds none."""
    if not line.startswith("data: ") or line == "data: [DONE]":
        return None
    data = json.loads(line.removeprefix("data: "))
    if "error" in data:
        fail(f"the model failed: {data['error'].get('message', data['error'])}")
    choices = data.get("choices") or [{}]
    content: str | None = choices[0].get("delta", {}).get("content")
    return content


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:500]
