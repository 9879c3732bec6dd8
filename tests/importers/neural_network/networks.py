"""Small networks built with coremltools' own builder, saved, loaded with Moka and run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from coremltools.models.utils import save_spec

import moka
from moka.importers.neural_network import import_network
from moka.ir.verify import verify
from moka.ops.check import check_program

Array: TypeAlias = np.ndarray[Any, Any]
Build: TypeAlias = Callable[[Any], object]

RANDOM = np.random.default_rng(7)


def noise(*shape: int) -> Array:
    """Seeded normal noise."""
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def built(shapes: dict[str, Sequence[int]], build: Build, outputs: Sequence[str] = ("y",), *, exact: bool = False, **options: Any) -> Any:
    """The specification of a network with the given inputs, whose layers ``build`` adds.

    Args:
        exact: whether arrays are of any rank, as from version 4 of the specification on.
    """
    features = [(name, datatypes.Array(*shape)) for name, shape in shapes.items()]
    builder = NeuralNetworkBuilder(features, [(name, None) for name in outputs], disable_rank5_shape_mapping=exact, **options)
    build(builder)
    return builder.spec


def loaded(specification: Any) -> moka.Model:
    """A specification saved to a file and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.mlmodel"
        save_spec(specification, str(path))
        return moka.load(path)


def run(inputs: dict[str, Array], build: Build, outputs: Sequence[str] = ("y",), *, exact: bool = False) -> list[Array]:
    """What a network makes of its inputs; its program is checked on the way.

    Where arrays are not exact, inputs are declared by their last axes if they have five.
    """
    shapes = {name: array.shape[2:] if array.ndim == 5 and not exact else array.shape for name, array in inputs.items()}
    model: Any = loaded(built(shapes, build, outputs, exact=exact))
    program = import_network(model.network, {name: array.shape for name, array in inputs.items()})
    verify(program)
    check_program(program)
    results = model.predict(inputs)
    return [results[name] for name in outputs]


def check(inputs: dict[str, Array], build: Build, expected: Any, *, exact: bool = False, tolerance: float = 1e-5) -> None:
    """Compares a network's output with ``expected``: for exact arrays its shape too, else but for leading axes of size 1."""
    (result,) = run(inputs, build, exact=exact)
    wanted = expected.numpy() if hasattr(expected, "numpy") else np.asarray(expected)
    if not exact:
        assert result.ndim == 5, result.shape
        wanted = wanted.reshape((1,) * (5 - wanted.ndim) + wanted.shape)
    assert result.shape == wanted.shape
    np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(wanted).max(initial=0))))


def both(x: Array, build: Build, expected: Any, **options: Any) -> None:
    """Checks a layer of images with both meanings: x [N, C, H, W] is an exact array, or a sequence of N images."""
    check({"x": x}, build, expected, exact=True, **options)
    wanted = expected.numpy() if hasattr(expected, "numpy") else np.asarray(expected)
    check({"x": x[:, None]}, build, wanted[:, None], **options)
