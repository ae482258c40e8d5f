"""Shell completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

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
