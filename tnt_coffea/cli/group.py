"""The top group: commands by section, errors as one line with exit code, shell completion."""

from __future__ import annotations

import io
import multiprocessing
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import get_completion_class

from tnt_coffea.errors import TntCoffeaError

__all__ = ["KEEPS", "Commands", "completion"]

KEEPS = "tnt_coffea keeps"
"""In the context of a command that keeps what is done, though not every form of it does."""
INTERRUPTED = 130
"""As the shell has it: 128 and the number of SIGINT."""


class Commands(click.Group):
    """Lists its commands by section and turns our errors into one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections: dict[str, list[str]] = {}
        self.keeping: set[str | None] = set()
        """Commands that keep what is done when they are cut."""

    def add_section(self, title: str, commands: Sequence[click.Command]) -> None:
        """Add commands under a title of the help text."""
        for command in commands:
            self.add_command(command)
        self.sections[title] = [str(command.name) for command in commands]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of their sections."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        width = max(map(len, self.commands))
        for title, names in self.sections.items():
            rows = [
                (name.ljust(width), self.commands[name].get_short_help_str(limit=200))
                for name in names
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes, as the errors have them."""
        kinds = sorted(TntCoffeaError.__subclasses__(), key=lambda kind: kind.exit_code)
        rows = [(str(kind.exit_code), str(kind.__doc__).partition("\n")[0]) for kind in kinds]
        rows = [("0", "All went well."), ("1", "Something unexpected; please report it."), *rows]
        with formatter.section("Exit codes"):
            formatter.write_dl([*rows, (str(INTERRUPTED), "Interrupted by Ctrl-C.")])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error becomes one line and an exit code, unless `--debug`."""
        debug = ctx.params.get("debug", False)
        for stream in (sys.stdout, sys.stderr):  # names of files may be of any bytes
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            with _ended_in_order(ctx, self.keeping):
                return super().invoke(ctx)
        except TntCoffeaError as error:
            if debug:
                raise
            click.secho(f"error: {error}", fg="red", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.secho(f"interrupted; {_way_on(ctx, self.keeping)}", err=True)
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OSError as error:
            if debug:
                raise
            # A disk that is full, read-only or gone is no mistake of the user.
            place = f"{error.filename}: " if error.filename else ""
            click.secho(f"error: {place}{error.strerror or error}", fg="red", err=True)
            ctx.exit(1)
        except Exception as error:
            if debug:
                raise
            click.secho(
                f"unexpected error: {type(error).__name__}: {error} "
                "(tnt-coffea --debug shows where; please report it)",
                fg="red",
                err=True,
            )
            ctx.exit(1)


def _way_on(ctx: click.Context, keeping: Collection[str | None]) -> str:
    kept = ctx.invoked_subcommand in keeping or KEEPS in ctx.meta
    return f"the same command {'goes on where it was cut' if kept else 'begins anew'}"


@contextmanager
def _ended_in_order(ctx: click.Context, keeping: Collection[str | None]) -> Iterator[None]:
    """Let Ctrl-C, and SIGTERM of a batch system, take the processes down that were started here."""

    def ended(number: int, frame: Any) -> None:
        for child in multiprocessing.active_children():
            if not child.name.startswith("Dask"):  # those are closed by their cluster
                child.terminate()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        click.secho(f"terminated; {_way_on(ctx, keeping)}", err=True)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ended) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


PROGRAM = "tnt-coffea"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes commands and options in a SHELL.

    bash: eval "$(tnt-coffea completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc;
    fish: tnt-coffea completion fish > ~/.config/fish/completions/tnt-coffea.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    variable = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"
    click.echo(kind(root, {}, PROGRAM, variable).source())
