"""The page about compiled networks says what the table of translations says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from moka.compiler.espresso import evidence
from moka.formats import schema

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compiled_layers.py"


def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("moka_scripts_compiled_layers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page()


def test_translations_are_of_kinds_that_the_format_has() -> None:
    layer = schema.message_module("NeuralNetwork_pb2").NeuralNetworkLayer.DESCRIPTOR
    kinds = {field.name for field in layer.oneofs_by_name["layer"].fields}
    assert {kind for kind, _, _ in evidence()} <= kinds
    assert sum(not found.is_guess for _, _, found in evidence()) > 40
