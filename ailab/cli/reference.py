"""Writes docs/reference/ from the commands and the definition themselves: `python -m ailab.cli.reference`."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from ailab.cli import app, reference_services
from ailab.cli.output import root
from ailab.definition.load import load

FILE = "docs/reference/cli.md"
_HEAD = """\
# Commands

Made by `python -m ailab.cli.reference` from the commands themselves; a test holds this page to them.

Exit codes: 0 done, 1 the lab is not as asked, 2 wrong usage. Colour and progress on a terminal only.
`./lab COMMAND --help` says the same as this page.
"""


def text() -> str:
    """The page."""
    group: Any = get_command(app)
    return _HEAD + "".join(_command(name, command) for name, command in group.commands.items() if not command.hidden)


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join(["./lab", name, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)])
    parts = [f"\n## {name}\n\n    {usage}\n\n{' '.join((command.help or '').split())}\n"]
    if rows := [*map(_argument, arguments), *map(_option, options)]:
        parts.append("\n| | |\n|---|---|\n" + "".join(f"| `{left}` | {right} |\n" for left, right in rows))
    return "".join(parts)


def _usage(argument: Any) -> str:
    word = argument.name.upper() + ("…" if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _argument(argument: Any) -> tuple[str, str]:
    return argument.name.upper(), _cell(argument.help)


def _option(option: Any) -> tuple[str, str]:
    names = ", ".join(sorted(option.opts, key=len))
    if option.is_flag:
        return names, _cell(option.help)
    default = f" Default: {option.default}." if option.default not in (None, "", []) else ""
    return f"{names} {option.name.upper()}", _cell(option.help) + default


def _cell(help_text: str | None) -> str:
    return " ".join((help_text or "").split()).replace("|", "\\|")


def main() -> None:
    """Write the pages."""
    for file, page in {FILE: text(), reference_services.FILE: reference_services.text(load(root()))}.items():
        path = root() / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
