"""The command line: one command a file, an error a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from linfkit import __version__
from linfkit._util.files import expand_user
from linfkit._util.text import replace_unprintable
from linfkit.cli import bench, certify, course, doctor, recipes, reproduce, train

WRONG_ARGUMENTS = 2


class _PlainErrors(TyperGroup):
    """Commands whose errors are a line for the user, and a traceback only with --debug."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_as_a_shell(word) for word in args])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # of a reader that has read enough, such as head; Typer ends without a word
        except (ValueError, TypeError, OSError, FloatingPointError, ImportError) as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(WRONG_ARGUMENTS) from None


class _PapermillStyle(TyperCommand):
    """Command to which `-p NAME VALUE` means `-p NAME=VALUE`, as it does to papermill."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)
        for place in range(len(words) - 3, -1, -1):
            if words[place] == "-p" and "=" not in words[place + 1]:
                words[place + 1 : place + 3] = ["=".join(words[place + 1 : place + 3])]
        return super().parse_args(ctx, words)


app = typer.Typer(
    cls=_PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help as plain text, wrapped at words
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"linfkit {__version__}")
        raise typer.Exit


@app.callback()
def commands(
    debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """ℓ∞-distance nets: reproduce the papers' analyses, train, certify."""


def _first_line(command: Callable[..., None]) -> str:
    """Of its help, for the list of commands, where Typer would cut it."""
    return (command.__doc__ or "").partition("\n")[0]


app.command("reproduce", cls=_PapermillStyle, short_help=_first_line(reproduce.reproduce))(
    reproduce.reproduce
)
for command in (
    train.train,
    train.ensemble,
    train.report,
    certify.certify,
    recipes.recipes,
    bench.bench,
    doctor.doctor,
    course.course,
    course.lab,
    course.pages,
):
    app.command(short_help=_first_line(command))(command)


def _as_a_shell(word: str) -> str:
    """A word with ~ for the home folder, which shells leave to us after a =, or do not know."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{expand_user(value)}" if value.startswith("~") else word


def main() -> None:
    """Run the command line; what the console cannot show is replaced."""
    replace_unprintable()
    app()
