"""Every kind of layer compiled and read back: the tests of the importer, with compiled models in place of their sources.

Those tests build networks with coremltools' own builder, and compare what comes out with PyTorch, NumPy and ONNX Runtime.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from coremltools.proto import NeuralNetwork_pb2

import moka
from moka.formats.source import open_source
from moka.importers.neural_network.layers._nested import kinds
from tests.importers import neural_network

_MODULES = sorted(path.stem for path in Path(neural_network.__path__[0]).glob("test_*.py"))
_APART = ("test_complete", "test_corpus")
"""One counts what the others cover; the other is about real models, most of which are compiled elsewhere."""

_NOT_ABOUT_LAYERS = (
    "test_broken_networks_are_refused",
    "test_inputs_that_networks_do_not_take_are_refused",
    "test_the_default_limit_is_50",
)
"""What the compiler says of broken networks is tested beside it; the last reads the source's file, which there is none of then."""

_COVERED: set[str] = set()


_load = moka.load


@pytest.fixture(autouse=True)
def _networks_are_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is loaded is compiled first, with what no real model shows."""
    count = itertools.count()

    def load_compiled(path: Path | str, **options: Any) -> moka.Model:
        specification = open_source(path).specification
        _COVERED.update(kinds(getattr(specification, specification.WhichOneof("Type")).layers))
        return _load(moka.compile(path, tmp_path / str(next(count)), unverified=True), **options)

    monkeypatch.setattr(moka, "load", load_compiled)


def _tests() -> Iterator[tuple[str, Callable[..., None]]]:
    for name in _MODULES:
        if name not in _APART:
            module = importlib.import_module(f"{neural_network.__name__}.{name}")
            functions = {key: value for key, value in vars(module).items() if key.startswith("test_") and key not in _NOT_ABOUT_LAYERS}
            yield from ((f"{name}__{key.removeprefix('test_')}", function) for key, function in functions.items())


globals().update(_tests())


def test_zz_every_kind_went_there_and_back(request: pytest.FixtureRequest) -> None:
    if len(_COVERED) < 100:
        pytest.skip("counts the layers of all tests in this file; not all of them ran")
    fields = NeuralNetwork_pb2.NeuralNetworkLayer.DESCRIPTOR.oneofs_by_name["layer"].fields
    assert {field.name for field in fields} - _COVERED == set()
