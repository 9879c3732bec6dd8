"""Compiled networks: the files of Core ML's network compiler as plain objects, and back to the specification they were made of."""

from moka.formats.espresso.network import read_network

__all__ = ["read_network"]
