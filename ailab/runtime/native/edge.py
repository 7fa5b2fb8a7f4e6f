"""From Ingress objects to nginx.conf: the same hosts, limits and streams as the ingress controller on the server gives."""

from __future__ import annotations

from ailab.definition.manifests import Object

# A path that no service has; answers on any host name, and says only that nginx runs.
HEALTH = "/.well-known/ailab-edge"

_HEAD = """# Made from the Ingress objects; written again at every start.
daemon off;
# One process: a kill -9 of a master would leave its workers behind, holding the port.
master_process off;
worker_processes 1;
pid "%{{pod}}/nginx.pid";
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    default_type application/octet-stream;
    client_body_temp_path "%{{pod}}/tmp/body";
    proxy_temp_path "%{{pod}}/tmp/proxy";
    fastcgi_temp_path "%{{pod}}/tmp/fastcgi";
    uwsgi_temp_path "%{{pod}}/tmp/uwsgi";
    scgi_temp_path "%{{pod}}/tmp/scgi";
    server_names_hash_bucket_size 128;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}

    # A name that is none of the lab's is refused, so that no foreign name can be pointed at it (DNS rebinding).
    server {{
        listen 127.0.0.1:{port} default_server;
        server_name _;
        location = {health} {{ return 204; }}
        location / {{ return 421 "no service of this lab has that name\\n"; }}
    }}
"""

_SERVER = """
    server {{
        listen 127.0.0.1:{port};
        server_name {name};
        client_max_body_size {body};
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            # Identity and redaction are the lab's to say, never the caller's.
            proxy_set_header Tailscale-User-Login "";
            proxy_set_header Tailscale-User-Name "";
            proxy_set_header Tailscale-User-Profile-Pic "";
            proxy_set_header litellm-disable-message-redaction "";
            proxy_buffering {buffering};
            proxy_request_buffering {buffering};
            proxy_connect_timeout 5s;
            proxy_read_timeout {read};
            proxy_send_timeout {send};
        }}
    }}
"""


def local_host(host: str, lab_host: str) -> str:
    """<service>.<host>.<tailnet>.ts.net as this machine reaches it: <service>.<host>.localhost."""
    return f"{host.split('.')[0]}.{lab_host}.localhost"


def nginx_conf(objects: list[Object], addresses: dict[str, str], lab_host: str, port: int) -> str:
    """The configuration for all Ingresses; `%{pod}` in it stands for the edge's own folder.

    Args:
        objects: rendered objects.
        addresses: loopback address by Service name.
        lab_host: the server's name, such as gpu-lab.
        port: where nginx listens on 127.0.0.1.
    """
    parts = [_HEAD.format(port=port, health=HEALTH)]
    for ingress in (o for o in objects if o["kind"] == "Ingress"):
        notes = ingress["metadata"].get("annotations", {})
        for rule in ingress["spec"]["rules"]:
            backend = rule["http"]["paths"][0]["backend"]["service"]
            parts.append(
                _SERVER.format(
                    port=port,
                    name=local_host(rule["host"], lab_host),
                    upstream=f"{addresses[backend['name']]}:{backend['port']['number']}",
                    body=notes.get("nginx.org/client-max-body-size", "1m"),
                    buffering="off" if notes.get("nginx.org/proxy-buffering", "True").lower() == "false" else "on",
                    read=notes.get("nginx.org/proxy-read-timeout", "60s"),
                    send=notes.get("nginx.org/proxy-send-timeout", "60s"),
                )
            )
    return "".join([*parts, "}\n"])


def urls(objects: list[Object], lab_host: str, port: int) -> dict[str, list[str]]:
    """The addresses at which a person opens each service that has an Ingress, by service name."""
    found: dict[str, list[str]] = {}
    for ingress in (o for o in objects if o["kind"] == "Ingress"):
        for rule in ingress["spec"]["rules"]:
            name = rule["http"]["paths"][0]["backend"]["service"]["name"]
            found.setdefault(name, []).append(f"http://{local_host(rule['host'], lab_host)}:{port}")
    return found
