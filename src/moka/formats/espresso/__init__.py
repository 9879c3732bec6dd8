"""Compiled networks: the files of Core ML's network compiler as plain objects."""
