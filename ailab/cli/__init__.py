"""The command line; each command's work is a module of its own, imported when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from ailab.cli.output import fail, root
from ailab.runtime.native.control import Refused

app = typer.Typer(
    name="lab", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="A private AI lab that its owner holds whole.",
)  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Services = Annotated[list[str] | None, typer.Argument(help="Service names; none: all.")]
Service = Annotated[str, typer.Argument(help="A service's name.")]


@app.command()
def up(services: Services = None, json: Json = False) -> None:
    """Bring the lab up on this machine; applies differences only."""
    from ailab.cli.up import up as run

    raise typer.Exit(run(root(), services or [], json))


@app.command()
def down(services: Services = None, json: Json = False) -> None:
    """Stop the lab, or some services until the next `up`; data stays."""
    from ailab.cli.lifecycle import down as run

    raise typer.Exit(run(root(), services or [], json))


@app.command()
def status(json: Json = False) -> None:
    """Show every service: state, address, memory. Exit 1 unless all is ready."""
    from ailab.cli.lifecycle import status as run

    raise typer.Exit(run(root(), json))


@app.command()
def restart(services: Services = None, json: Json = False) -> None:
    """Stop services and start them again."""
    from ailab.cli.lifecycle import restart as run

    raise typer.Exit(run(root(), services or [], json))


@app.command()
def logs(
    service: Service,
    container: Annotated[str, typer.Option("--container", "-c", help="One container of the service; none: all.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--tail", "-n", min=0, help="How many of the last lines.")] = 100,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Begin each line with its time.")] = False,
) -> None:
    """Show a service's log."""
    from ailab.cli.logs import logs as run

    raise typer.Exit(run(root(), service, container, follow, lines, timestamps))


@app.command("open")
def open_(service: Service) -> None:
    """Open a service in the browser."""
    from ailab.cli.lifecycle import open_ as run

    raise typer.Exit(run(root(), service))


@app.command()
def chat(
    message: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")],
    model: Annotated[str, typer.Option("--model", "-m", help="One of the gateway's models; none: its first.")] = "",
    json: Json = False,
) -> None:
    """Ask a model through the gateway; the answer streams."""
    from ailab.cli.chat import chat as run

    raise typer.Exit(run(root(), message, model, json))


@app.command()
def check(
    only: Annotated[list[str] | None, typer.Option("--only", help="A check's name; may be given again.")] = None,
    json: Json = False,
) -> None:
    """Prove that the running lab does what it promises. Exit 1 with a reason for each check that fails."""
    from ailab.cli.check import check as run

    raise typer.Exit(run(root(), only or [], json))


@app.command()
def render(
    service: Annotated[str, typer.Option("--service", "-s", help="One service's objects.")] = "",
    diff: Annotated[bool, typer.Option("--diff", help="What rendering changes on the manifests, as a diff.")] = False,
    secrets: Annotated[bool, typer.Option("--secrets", help="Also the Secret objects, with their values in the clear.")] = False,
    json: Json = False,
) -> None:
    """Print the Kubernetes objects for any kubectl."""
    from ailab.cli.render import render as run

    raise typer.Exit(run(root(), service, diff, secrets, json))


@app.command()
def test(arguments: Annotated[list[str] | None, typer.Argument(help="quick, or arguments for pytest.")] = None) -> None:  # noqa: PT028
    """Run every test that this machine can run; says what was left out and why."""
    from ailab.cli.testing import test as run

    raise typer.Exit(run(root(), arguments or []))


@app.command()
def version(json: Json = False) -> None:
    """Show the versions of ailab and of every image."""
    from ailab.cli.version import version as run

    raise typer.Exit(run(root(), json))


def main() -> None:
    """The entry point."""
    try:
        app()
    except (Refused, TimeoutError) as error:
        fail(f"the lab's supervisor does not answer as it should: {error or 'no answer in time'} (./lab down and ./lab up start it anew)")
