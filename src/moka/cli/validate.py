"""``moka validate``."""

from __future__ import annotations

import click

import moka
from moka.cli.common import as_json, model_argument, print_json, progress, verb

__all__ = ["command"]


@verb()
@model_argument
@as_json
@click.pass_context
def command(ctx: click.Context, model: str, as_json: bool) -> None:
    """List everything that is wrong with a model.

    Checks the package, the weight files, the description, of ML Programs the structure and every operation's types, of neural networks
    every layer, and that the model loads. One line a problem: where it is, what was found and what was expected. The exit status is 1 if
    there is any.
    """
    with progress(f"checking {model}"):
        problems = moka.validate(model)
    if as_json:
        print_json([{"where": problem.where, "message": problem.message} for problem in problems])
    else:
        for problem in problems:
            click.echo(" ".join(str(problem).split()))
        click.echo(f"{model}: {_count(len(problems))}", err=bool(problems))
    ctx.exit(1 if problems else 0)


def _count(number: int) -> str:
    return "no problems" if number == 0 else "1 problem" if number == 1 else f"{number} problems"
