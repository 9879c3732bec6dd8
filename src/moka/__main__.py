"""``python -m moka``: the command ``moka``."""

from __future__ import annotations

from moka.cli import main

main(prog_name="moka")
