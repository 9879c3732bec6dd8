"""``moka compile``."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

import moka
from moka.cli.common import as_json, print_json, progress, verb

__all__ = ["command"]

_LAYER = re.compile(r"layer ('.*') \((\w+)\): (.*)", re.DOTALL)
_NAMED = 2
"""How many layers are named that have the same said of them."""


@verb()
@click.argument("source", type=click.Path())
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--platform", metavar="NAME", help="The system that it is for: ios, macos, ...")
@click.option("--deployment-target", metavar="RELEASE", help="The oldest release of that system that must load it: 16.0.")
@click.option("--sdkroot", metavar="FOLDER", expose_value=False, help="Taken as Xcode gives it, and not needed.")
@click.option("--container", metavar="KIND", help="What it is packed into: bundle-resources or swift-package.")
@click.option("--output-partial-info-plist", "plist", metavar="FILE", type=click.Path(path_type=Path), help="Write an empty property list.")
@click.option("--unverified", is_flag=True, help="Write what no real compiled model has shown as well, and say so in metadata.json.")
@click.option("--rank-info", is_flag=True, help="Write model.rank.info.json beside neural networks.")
@as_json
def command(
    source: str,
    destination: Path,
    platform: str | None,
    deployment_target: str | None,
    container: str | None,
    plist: Path | None,
    unverified: bool,
    rank_info: bool,
    as_json: bool,
) -> None:
    """Compile a model for Apple's systems.

    SOURCE is a .mlmodel file or an .mlpackage folder; DESTINATION/NAME.mlmodelc is made of it. The arguments and options are those of
    Apple's coremlc; the options on systems only check that the model loads there, the output is the same for all.
    """
    with progress(f"compiling {source}") as show:
        made = moka.compile(
            source,
            destination,
            platform=platform,
            deployment_target=deployment_target,
            container=container,
            unverified=unverified,
            rank_info=rank_info,
            progress=lambda text: show(f"compiling {source}: {text}"),
        )
    if plist is not None:
        plist.write_bytes(plistlib.dumps({}))
    guesses = moka.metadata(made)[0].get("mokaUnverified", [])
    if as_json:
        print_json({"path": str(made), "unverified": guesses})
        return
    for line in _together(guesses):
        click.echo(f"not verified: {line}", err=True)
    click.echo(made)


def _together(guesses: Iterable[str]) -> Iterator[str]:
    """A line for each thing that is not verified, with the layers that it was found in."""
    found: dict[tuple[str, str], list[str]] = {}
    for guess in guesses:
        match = _LAYER.fullmatch(guess)
        name, *key = match.groups() if match else ("", "", guess)
        found.setdefault((key[0], key[1]), []).append(name)
    for (kind, what), names in found.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        layers = f"layer{'s' * (len(names) > 1)} {', '.join(names[:_NAMED])}{more} ({kind}): " if kind else ""
        yield f"{layers}{what}"
