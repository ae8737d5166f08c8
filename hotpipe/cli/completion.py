"""`hotpipe completion`: what makes a shell complete hotpipe's verbs, options and names."""

import os

import click
from click.shell_completion import get_completion_class

from hotpipe.errors import UsageError

_INSTALL = {
    "bash": 'add to ~/.bashrc:  eval "$(hotpipe completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit:  eval "$(hotpipe completion zsh)"',
    "fish": "hotpipe completion fish > ~/.config/fish/completions/hotpipe.fish",
}


@click.command(short_help="Completion for bash, zsh and fish.")
@click.argument("shell", type=click.Choice(tuple(_INSTALL)), required=False)
def command(shell: str | None) -> None:
    """Print what makes the shell complete hotpipe's verbs, options, stages and servers (default: the one in $SHELL).

    \b
    bash: add to ~/.bashrc:  eval "$(hotpipe completion bash)"
    zsh:  add to ~/.zshrc, after compinit:  eval "$(hotpipe completion zsh)"
    fish: hotpipe completion fish > ~/.config/fish/completions/hotpipe.fish
    """
    name = shell or _present()
    kind = get_completion_class(name)
    if kind is None:  # another click
        raise UsageError(f"no completion for {name}")
    group = click.get_current_context().find_root().command
    click.echo(f"# To install: {_INSTALL[name]}\n{kind(group, {}, 'hotpipe', '_HOTPIPE_COMPLETE').source()}")


def _present() -> str:
    name = os.path.basename(os.environ.get("SHELL", ""))
    if name not in _INSTALL:
        raise UsageError(f"which shell? SHELL names {name or 'none'!r}", hint="hotpipe completion bash, zsh or fish")
    return name
