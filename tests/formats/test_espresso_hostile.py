"""Compiled networks that break their format: refused with the file, the layer and the attribute, never with another error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moka.errors import FormatError, UnsupportedError
from moka.formats import schema
from moka.formats.espresso import read_network
from moka.formats.espresso.files import NET_FILE, SHAPE_FILE, WEIGHT_FILE
from tests.formats.espresso_cases import FAMILIES
from tests.formats.espresso_cases.case import Case
from tests.formats.espresso_cases.windows import CONV, POOL
from tests.formats.espresso_networks import Layer, layer, write

KERNEL, BIAS = np.zeros((4, 6, 2, 3), np.float32), np.zeros(4, np.float32)
RELU = {"x": (6, 7, 8), "out": (6, 7, 8)}


def convolution(**attributes: Any) -> Layer:
    return layer("convolution", **{**CONV, **attributes})


def pool(**attributes: Any) -> Layer:
    return layer("pool", **{**POOL, "avg_or_max": 1, **attributes})


def without(content: Layer, name: str) -> Layer:
    return {key: value for key, value in content.items() if key != name}


def own(kind: str, parameters: object) -> Layer:
    """A layer in Moka's own form."""
    return layer(kind, moka_layer=kind, moka_parameters=parameters)


def nested(depth: int) -> object:
    """Branches in branches."""
    content: dict[str, Any] = {}
    for _ in range(depth):
        content = {"ifBranch": {"layers": [{"branch": content}]}}
    return content


WRONG: dict[str, tuple[Layer, type[Exception], str]] = {
    "type": (layer("teleport"), UnsupportedError, r"layer 'layer' \(teleport\).*not known; known are activation"),
    "attribute": (convolution(warp=3), UnsupportedError, r"layer 'layer' \(convolution\): warp is 3.*no known meaning; known are C, K"),
    "mark": (convolution(attributes={"is_secret": 1}), UnsupportedError, "attributes is .*is_secret"),
    "missing": (without(convolution(), "C"), FormatError, "C: is missing"),
    "text for a number": (convolution(C="4"), FormatError, "C: found '4', expected an integer"),
    "yes for a number": (convolution(Nx=True), FormatError, "Nx: found True"),
    "fraction": (convolution(Nx=1.5), FormatError, "Nx: found 1.5"),
    "nothing": (convolution(stride_x=0), FormatError, "stride_x: found 0, expected an integer from 1"),
    "below nothing": (convolution(pad_l=-1), FormatError, "pad_l: found -1"),
    "above all": (convolution(K=2**40), FormatError, "K: found 1099511627776"),
    "groups": (convolution(n_groups=4), FormatError, "n_groups: 4 divides not both"),
    "no blob": (convolution(blob_weights=99), FormatError, "blob 99: is not there"),
    "other blob": (convolution(blob_weights=1), FormatError, r"blob 1: has 16 bytes, expected 576 for 144 of float32.*layer 'layer'"),
    "small blob": (convolution(C=8), FormatError, "has 576 bytes, expected 1152"),
    "huge blob": (convolution(C=2**30, K=2**30), FormatError, "blob 3: has 576 bytes, expected"),
    "no weights": (without(convolution(), "blob_weights"), UnsupportedError, "form of weights is 'blob_biases'; known is blob_weights"),
    "lookup table": (
        {**without(convolution(), "blob_weights"), "quantization_lut_weights_blob": 3, "quantization_ranges_blob": 1},
        UnsupportedError,
        "quantization_lut_weights_blob",
    ),
    "table of weights": (convolution(weights=[1]), FormatError, r"weights: found \[1\], expected an object"),
    "unknown weights": (convolution(weights={"W_t": 1}), UnsupportedError, "weights: 'W_t' has no known meaning"),
    "id of a blob": (
        {**without(convolution(), "blob_weights"), "weights": {"W_U8": -3, "per_ch_qscale": 1, "per_ch_qbias": 1}},
        FormatError,
        "W_U8: found -3, expected the id of a blob",
    ),
    "padding mode": (convolution(pad_mode=3), UnsupportedError, "pad_mode is 3; known is 0, 1, 2, 4"),
    "padding value": (convolution(pad_value=1), UnsupportedError, "pad_value is 1; known is 0"),
    "same and padded": (convolution(pad_mode=1, pad_l=2), UnsupportedError, r"pad_l, pad_r is \[0, 0, 2, 0\]; known is 0"),
    "batch norm inside": (convolution(has_batch_norm=1), UnsupportedError, "has_batch_norm is 1"),
    "two activations": (convolution(fused_relu=1, fused_tanh=1), UnsupportedError, "fused_relu and fused_tanh is 1; known is one"),
    "two inputs": (convolution(bottom="x,x"), FormatError, "bottom: has 2 blobs, expected 1"),
    "no output": (convolution(top=""), FormatError, "top: found '', expected names"),
    "empty name": (convolution(top="out,"), FormatError, "top: found 'out,'"),
    "uneven last pixel": (pool(top_shape_style=2, pad_t=1), UnsupportedError, "the same on both sides"),
    "shape style": (pool(top_shape_style=1), UnsupportedError, "top_shape_style is 1"),
    "activation": (layer("activation", mode=99), UnsupportedError, "mode is 99; known is 0, 1, 2"),
    "endless": (layer("activation", mode=6, alpha=1e308), FormatError, "alpha: found 1e.308, expected a finite number"),
    "number": (layer("activation", mode=6, alpha="nan"), FormatError, "alpha: found 'nan'"),
    "operation": (layer("elementwise", operation=17), UnsupportedError, "operation is 17; known is 0, 1"),
    "operands": (layer("elementwise", operation=102), FormatError, "bottom: has 1 blobs, which operation 102"),
    "scaled sum": (layer("elementwise", "x,x", operation=0, alpha=2), UnsupportedError, "alpha is 2; known is 0, 1"),
    "no permutation": (layer("transpose", axis_w=1, axis_h=1), FormatError, "expected a permutation of 5 axes"),
    "concat": (layer("concat", "x,x", axis=1), UnsupportedError, "axis is 1; known is that of the channels"),
    "general concat": (layer("general_concat", "x,x", axis=0), UnsupportedError, "axis is 0; known is one along which"),
    "general concat out of range": (layer("general_concat", "x,x", axis=9), FormatError, "axis: found 9"),
    "split": (layer("split_nd", nd_axis=-3, top="out,more"), FormatError, "blob 'more': is not there"),
    "reduction": (layer("reduce", mode=0, axis_mode=1), UnsupportedError, "axis_mode is 1; known is what reduces"),
    "reduced by logarithms": (layer("reduce", mode=3, axis_mode=4), UnsupportedError, "mode is 3"),
    "many axes": (layer("squeeze", size_of_axes=77), FormatError, "size_of_axes: found 77"),
    "other axes": (layer("squeeze", size_of_axes=0, axes_0=1), UnsupportedError, "axes_0 is 1; known is 0"),
    "constant": (layer("load_constant", "", w=9, constant_blob=1), FormatError, "blob 1: has 16 bytes, expected 36"),
    "upsampled to nothing": (layer("upsample", mode=0, scaling_factor_x=0), FormatError, "scaling_factor_x and scaling_factor_y"),
    "own form of nothing": (own("teleport", {}), FormatError, "moka_layer: found 'teleport', expected a kind of layer"),
    "own form without parameters": (without(own("mvn", {}), "moka_parameters"), FormatError, "moka_parameters: is missing"),
    "own form with more": ({**own("mvn", {}), "epsilon": 1}, UnsupportedError, "epsilon is 1, which has no known meaning"),
    "own parameters": (own("mvn", [1]), FormatError, r"moka_parameters: found \[1\], expected an object"),
    "own field": (own("mvn", {"warp": 1}), FormatError, "moka_parameters.warp: MeanVarianceNormalizeLayerParams has no such field"),
    "own number": (own("mvn", {"epsilon": {}}), FormatError, "moka_parameters.epsilon: found {}, which the field can't hold"),
    "own truth": (own("mvn", {"acrossChannels": 1}), FormatError, "moka_parameters.acrossChannels: found 1.*expected true or false"),
    "own list": (own("tile", {"reps": 2}), FormatError, "moka_parameters.reps: found 2, expected a list"),
    "own large number": (own("tile", {"reps": [2**70]}), FormatError, "moka_parameters.reps: found"),
    "own map": (own("custom", {"parameters": []}), FormatError, "moka_parameters.parameters: found"),
    "own weights": (own("custom", {"weights": [{"floatValue": "x"}]}), FormatError, "floatValue: found 'x', expected the id of a blob"),
    "own blob": (own("custom", {"weights": [{"rawValue": 99}]}), FormatError, "blob 99: is not there"),
    "own depth": (own("branch", nested(60)), FormatError, "with at most 90 in each other"),
    "shape of nothing": (layer("tile", "x", "out", dst_k=0), FormatError, "dst_k: found 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_layer(tmp_path: Path, name: str) -> None:
    content, error, message = WRONG[name]
    write(tmp_path, [content], RELU, [BIAS, KERNEL])
    with pytest.raises(error, match=message) as caught:
        read_network(tmp_path)
    assert str(tmp_path) in str(caught.value)


HOSTILE = [None, -1, 0, 7, True, 2**40, -(2**70), 1e308, 0.5, "x", "", [], [[[]]], {}, {"a": {}}]


def one_of_each_type() -> list[Any]:
    cases: dict[str, Case] = {}
    for family in FAMILIES.values():
        for case in family():
            cases.setdefault(case.layer["type"], case)
    return [pytest.param(case, id=kind) for kind, case in cases.items()]


@pytest.mark.parametrize("case", one_of_each_type())
def test_any_attribute_may_be_anything(tmp_path: Path, case: Case) -> None:
    """Whatever stands in one attribute, the layer is read or refused, with an error of the tree."""
    tops = dict.fromkeys(case.layer["top"].split(","), (2, 3, 4))
    shapes = {name: array.shape for name, array in case.inputs.items()}
    write(tmp_path, [case.layer], {**shapes, **tops}, case.blobs, exact=case.exact)
    net = json.loads((tmp_path / NET_FILE).read_text())
    refused = 0
    for attribute in [*case.layer, "extra"]:
        if attribute.startswith(("begin_", "pads_")) and not attribute.endswith(("_1", "_9")):
            continue  # a hundred of a kind, which are read alike
        for value in HOSTILE:
            net["layers"] = [{**case.layer, attribute: value}]
            (tmp_path / NET_FILE).write_text(json.dumps(net))
            try:
                read_network(tmp_path)
            except (FormatError, UnsupportedError):
                refused += 1
    assert refused > 0


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


FILES: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "storage elsewhere": (NET_FILE, lambda net: net.update(storage="../weights"), "storage: found '../weights'"),
    "storage nowhere": (NET_FILE, lambda net: net.update(storage=""), "storage: found ''"),
    "storage of another name": (NET_FILE, lambda net: net.update(storage="other"), "the network has no weight file"),
    "rank": (SHAPE_FILE, lambda shape: shape["layer_shapes"]["x"].update(_rank=6), "_rank: found 6, expected 0 to 5"),
    "order": (NET_FILE, lambda net: net["layers"].reverse(), "blob 'a' is no input, and no earlier layer writes it"),
    "transform": (NET_FILE, lambda net: net.update(transform_params=[1]), "transform_params: expected an object"),
    "transform of an image": (NET_FILE, lambda net: net.update(transform_params={"x": 1}), "'x': expected an object"),
    "transform's number": (NET_FILE, lambda net: net.update(transform_params={"x": {"scale": "1"}}), "scale: found '1'"),
}


@pytest.mark.parametrize("name", FILES)
def test_wrong_file(tmp_path: Path, name: str) -> None:
    layers = [convolution(top="a"), {**layer("activation", "a", mode=0), "name": "r"}]
    write(tmp_path, layers, {**RELU, "a": (4, 6, 6)}, [BIAS, KERNEL])
    description = schema.model().Model().description
    description.input.add(name="x").type.multiArrayType.shape.extend([6, 7, 8])
    file, change, message = FILES[name]
    changed(tmp_path / file, change)
    with pytest.raises(FormatError, match=message):
        read_network(tmp_path, description)


def test_link_out_of_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write(inside, [convolution()], RELU, [BIAS, KERNEL])
    (inside / WEIGHT_FILE).rename(tmp_path / "weights")
    (inside / WEIGHT_FILE).symlink_to(tmp_path / "weights")
    with pytest.raises(FormatError, match="leads outside"):
        read_network(inside)


def test_names_that_are_made_are_new(tmp_path: Path) -> None:
    """A layer that becomes two gets a blob and a name that nothing else has."""
    taken = {**layer("activation", "x", "out__before_ReLU", mode=0), "name": "layer__ReLU"}
    write(tmp_path, [taken, convolution(bottom="out__before_ReLU", fused_relu=1)], {**RELU, "out__before_ReLU": (6, 7, 8)}, [BIAS, KERNEL])
    network = read_network(tmp_path)
    assert len({item.name for item in network.layers}) == 3
    assert network.layers[1].output != network.layers[0].output
    assert network.layers[1].output == network.layers[2].input
