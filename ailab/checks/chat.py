"""A chat and the traces it must leave: the answer, its span, its count, its spend row."""

from __future__ import annotations

import json
import secrets
import time

import psycopg

from ailab.checks.base import Failure, Lab, within
from ailab.render.routes import active_routes

# Phoenix gets spans in batches, Prometheus asks every few seconds, LiteLLM writes spend rows in batches.
SPAN_S, COUNT_S, SPEND_S = 10.0, 40.0, 60.0
_COUNTER = "litellm_proxy_total_requests_metric_total"


def models(lab: Lab) -> str:
    """The gateway lists every route that can answer."""
    base = lab.url("litellm", 4000)
    listed = {m["id"] for m in lab.http("GET", f"{base}/v1/models", headers=_master(lab)).json()["data"]}
    wanted = {r.model_name for r in active_routes(lab.definition) if "*" not in r.model_name}
    if missing := sorted(wanted - listed):
        raise Failure(f"the gateway does not list {', '.join(missing)}", "./lab restart litellm, then ./lab logs litellm")
    return ", ".join(sorted(listed))


def chat(lab: Lab) -> str:
    """A question through the gateway is answered."""
    chosen = [r.model_name for r in active_routes(lab.definition) if r.model_info.get("mode", "chat") == "chat"]
    if not chosen:
        raise Failure("the gateway has no chat model", "turn llama-cpp on in lab.toml, or put a provider's key into .env")
    lab.facts["counted"] = _gateway_count(lab, chosen[0])
    nonce = secrets.token_hex(6)
    body = {
        "model": chosen[0],
        "messages": [{"role": "user", "content": f"What is the capital of France? ({nonce})"}],
        "max_tokens": 24,
        "temperature": 0,
    }
    answer = lab.http("POST", f"{lab.url('litellm', 4000)}/v1/chat/completions", json=body, headers=_master(lab), timeout=120).json()
    text = answer["choices"][0]["message"]["content"] or ""
    if not text.strip():
        raise Failure(f"{chosen[0]} answered nothing", "./lab logs llama-cpp, or of the model's own engine")
    lab.facts.update(nonce=nonce, id=answer["id"], model=chosen[0], answered=time.time())
    return f"{chosen[0]}: {' '.join(text.split())[:60]}"


def embedding(lab: Lab) -> str:
    """A text becomes a vector through the gateway."""
    routes = [r for r in active_routes(lab.definition) if r.model_info.get("mode") == "embedding"]
    body = {"model": routes[0].model_name, "input": ["a lab of one's own"]}
    data = lab.http("POST", f"{lab.url('litellm', 4000)}/v1/embeddings", json=body, headers=_master(lab)).json()
    size = len(data["data"][0]["embedding"])
    if size == 0:
        raise Failure("the vector is empty", "./lab logs llama-cpp -c embeddings")
    return f"{routes[0].model_name}: {size} dimensions"


def span(lab: Lab) -> str:
    """The chat's span is in Phoenix, its content included."""
    base, nonce = lab.url("phoenix", 6006), lab.facts["nonce"]
    headers = {"Authorization": f"Bearer {lab.secret('PHOENIX_ADMIN_SECRET')}"}
    began = time.monotonic()

    def look() -> str | None:
        for project in [p["name"] for p in lab.http("GET", f"{base}/v1/projects", headers=headers).json()["data"]]:
            spans = lab.http("GET", f"{base}/v1/projects/{project}/spans", headers=headers, params={"limit": 50}).json()["data"]
            for s in spans:
                attributes = s.get("attributes", {})
                if nonce in json.dumps(attributes):
                    if not any(k.startswith("llm.output") or k.startswith("output") for k in attributes):
                        return None
                    return f"{s['name']} in project {project} after {time.monotonic() - began:.1f} s"
        return None

    return within(SPAN_S, look, lambda: Failure(f"no span of the chat within {SPAN_S:g} s", "./lab logs litellm says whether traces are sent"))


def counted(lab: Lab) -> str:
    """The chat is in Prometheus' count of the gateway's requests."""
    # Samples from before a restart stay visible for minutes, so the sample's own time counts too.
    series = f'{_COUNTER}{{requested_model="{lab.facts["model"]}"}}'
    query = {"query": f"sum({series} and timestamp({series}) > {lab.facts['answered']:.3f})"}

    def look() -> str | None:
        answer = lab.http("GET", f"{lab.url('prometheus', 9090)}/api/v1/query", params=query).json()
        result = answer["data"]["result"]
        value = float(result[0]["value"][1]) if result else 0.0
        return f"{value:g} requests to {lab.facts['model']}" if value > lab.facts["counted"] else None

    way_out = "look at the target litellm on Prometheus' page"
    return within(COUNT_S, look, lambda: Failure(f"{_COUNTER} has no sample of the chat within {COUNT_S:g} s", way_out))


def spend(lab: Lab) -> str:
    """PostgreSQL holds the chat's spend row."""

    def look() -> str | None:
        with psycopg.connect(dsn(lab, "litellm"), connect_timeout=5) as db:
            row = db.execute('SELECT model, total_tokens FROM "LiteLLM_SpendLogs" WHERE request_id = %s', (lab.facts["id"],)).fetchone()
        return f"{row[0]}: {row[1]} tokens" if row else None

    try:
        return within(SPEND_S, look, lambda: Failure(f"no spend row of the chat within {SPEND_S:g} s", "./lab logs litellm"))
    except psycopg.Error as error:
        raise Failure(f"PostgreSQL: {str(error).strip().splitlines()[0]}", "./lab logs postgresql") from None


def web_ui(lab: Lab) -> str:
    """The administrator logs in to Open WebUI and chats through the gateway."""
    base = lab.url("open-webui", 8080)
    login = {"email": lab.secret("OPEN_WEBUI_ADMIN_EMAIL"), "password": lab.secret("OPEN_WEBUI_ADMIN_PASSWORD")}
    token = lab.http("POST", f"{base}/api/v1/auths/signin", json=login).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    listed = [m["id"] for m in lab.http("GET", f"{base}/api/models", headers=headers).json()["data"]]
    model = lab.facts.get("model") or next(r.model_name for r in active_routes(lab.definition))
    if model not in listed:
        raise Failure(f"Open WebUI does not list {model} (it lists {', '.join(listed) or 'nothing'})", "./lab logs open-webui")
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16, "stream": False}
    answer = lab.http("POST", f"{base}/api/chat/completions", json=body, headers=headers, timeout=120).json()
    text = answer["choices"][0]["message"]["content"] or ""
    return f"{model}: {' '.join(text.split())[:60]}"


def dsn(lab: Lab, role: str, database: str = "") -> str:
    """How to connect as a service's role."""
    password = lab.secret(f"{role.upper()}_DB_PASSWORD")
    host = lab.addresses["postgresql"]
    return psycopg.conninfo.make_conninfo(host=host, port=5432, user=role, password=password, dbname=database or role)


def _gateway_count(lab: Lab, model: str) -> float:
    """How many requests to a model the gateway itself has counted since it started; 0 where it counts none."""
    headers = {"Authorization": f"Bearer {lab.secret('PROMETHEUS_GATEWAY_KEY')}"}
    try:
        text = lab.http("GET", f"{lab.url('litellm', 4000)}/metrics/", headers=headers).text
    except Failure:
        return 0.0
    label = f'requested_model="{model}"'
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(_COUNTER + "{") and label in line)


def _master(lab: Lab) -> dict[str, str]:
    return {"Authorization": f"Bearer {lab.secret('LITELLM_MASTER_KEY')}"}
