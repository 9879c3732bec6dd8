"""The command ``moka``. A verb is one line in ``VERBS`` and one module of its name with a ``command``."""

from __future__ import annotations

import importlib

import click

import moka

__all__ = ["VERBS", "main"]

VERBS = {
    "cache": "List, verify or clear what was compiled before.",
    "compare": "Find the first operation that differs from PyTorch.",
    "compile": "Compile a model for Apple's systems.",
    "convert": "Convert a PyTorch program to Core ML.",
    "decompile": "Get a source model back from a compiled one.",
    "export": "Write a model as ONNX.",
    "inspect": "Say what a model is: inputs, outputs, operations, weights.",
    "metadata": "Print metadata.json as Apple's compiler writes it.",
    "plan": "Say which operation runs where, why, and at what cost.",
    "predict": "Run a model on files, values or random inputs.",
    "profile": "Time predictions, segments and operations of a model.",
    "validate": "List everything that is wrong with a model.",
}
"""Each verb and its one line of help. Modules are imported when their verb is called, so that ``moka --help`` is quick."""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"moka.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, subcommand_metavar="VERB [ARGUMENTS]...", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(moka.__version__, prog_name="moka", message="%(prog)s %(version)s")
def main() -> None:
    """Core ML for every machine that is not Apple's: look at, check and run Core ML models.

    Every verb has --help of its own, --json for scripts, and --debug for the traceback of an error.
    """
