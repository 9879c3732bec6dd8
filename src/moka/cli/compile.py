"""``moka compile``."""

from __future__ import annotations

import plistlib
from pathlib import Path

import click

import moka
from moka.cli.common import as_json, print_json, progress, verb

__all__ = ["command"]


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
    for guess in guesses:
        click.echo(f"not verified: {guess}", err=True)
    click.echo(made)
