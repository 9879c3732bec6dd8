"""Bytes to plain objects and back: ``.mlmodel``, ``.mlpackage``, weight files."""
