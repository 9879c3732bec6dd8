"""Names of operations and layers in the histograms of ``metadata.json``.

An ML Program operation stands there as ``Ios16.add`` or as ``Split``. The prefix is the last opset, not above the program's,
that changed Apple's own definition of the operation; one not changed since iOS 15 has no prefix and a capital. Apple documents
neither, and coremltools' definitions change at other opsets. What stands here was read off real files of the opsets iOS 15 to 18,
operation by operation; one that no file shows follows those of its family that were seen. iOS 26 has been seen in no file.

A layer of a neural network stands there as its field in the schema with a capital, with its kind behind it where it has kinds:
``InnerProduct``, ``ActivationReLU``, ``UnaryExp``, ``PaddingConstant``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["layer_type", "operation_type"]

_OPSETS = {"CoreML5": 15, "CoreML6": 16, "CoreML7": 17, "CoreML8": 18, "CoreML9": 26}

_REVISIONS: tuple[tuple[tuple[int, ...], str], ...] = (
    # Arithmetic, comparison, convolutions, norms, indices. Seen: abs, add, atan, batch_norm, cast, clip, conv, cos, einsum, equal, floor,
    # floor_div, gather, gather_along_axis, greater, greater_equal, instance_norm, layer_norm, less, linear, log, lstm, matmul, mul, pow,
    # real_div, reduce_argmax, reshape, rsqrt, sin, sqrt, square, sub, tanh, topk.
    (
        (16, 17, 18),
        "abs acos add argsort asin atan atanh batch_norm cast ceil clip conv conv_transpose cos cosh crop_resize einsum equal erf exp "
        "exp2 floor floor_div gather gather_along_axis gather_nd greater greater_equal gru instance_norm inverse l2_norm layer_norm "
        "less less_equal linear local_response_norm log lstm matmul maximum minimum mod mul non_maximum_suppression not_equal pow "
        "real_div reduce_argmax reduce_argmin resample reshape rnn round rsqrt scatter scatter_along_axis scatter_nd sign sin sinh sqrt "
        "square sub tan tanh threshold topk",
    ),
    # Not changed by iOS 17. Seen: avg_pool, cumsum, fill_like, gelu, reduce_max, reduce_mean, reduce_sum, relu, sigmoid, silu, softmax,
    # upsample_bilinear.
    (
        (16, 18),
        "avg_pool clamped_relu cumsum elu fill_like gelu l2_pool leaky_relu linear_activation max_pool prelu reduce_l1_norm "
        "reduce_l2_norm reduce_log_sum reduce_log_sum_exp reduce_max reduce_mean reduce_min reduce_prod reduce_sum reduce_sum_square "
        "relu relu6 resize_bilinear scaled_tanh sigmoid sigmoid_hard silu softmax softplus softplus_parametric softsign "
        "thresholded_relu upsample_bilinear",
    ),
    # Not changed by iOS 16. Seen: concat, expand_dims, logical_and, logical_not, slice_by_index, squeeze, transpose; dequantize and
    # quantize, which are new in iOS 17, in a program of iOS 18.
    (
        (17, 18),
        "concat dequantize expand_dims logical_and logical_not logical_or logical_xor quantize resize reverse reverse_sequence "
        "slice_by_index slice_by_size sliding_windows squeeze transpose",
    ),
    # Compressed constants. Seen: all of iOS 16 in programs of iOS 16, constexpr_lut_to_dense in one of iOS 17 too.
    ((16,), "constexpr_affine_dequantize constexpr_cast pixel_unshuffle reshape_like"),
    ((16, 18), "constexpr_lut_to_dense constexpr_sparse_to_dense"),
    # New in iOS 18. Seen: constexpr_blockwise_shift_scale.
    (
        (18,),
        "constexpr_blockwise_shift_scale constexpr_lut_to_sparse constexpr_sparse_blockwise_shift_scale coreml_update_state read_state "
        "scaled_dot_product_attention slice_update write_state",
    ),
    # The rest was never changed. Seen: identity, pad, range_1d, select, shape, split, stack, tile, upsample_nearest_neighbor.
)

_BY_OPERATION = {name: revisions for revisions, names in _REVISIONS for name in names.split()}

_LAYERS = {"batchnorm": "BatchNorm"}


def operation_type(name: str, opset: str) -> str:
    """An operation's name in the histogram of a program for ``opset`` (``CoreML6``): ``Ios16.reduceMean``, ``SliceByIndex``."""
    first, *rest = name.split("_")
    camel = first + "".join(map(_capital, rest))
    changed = [revision for revision in _BY_OPERATION.get(name, ()) if revision <= _OPSETS.get(opset, 0)]
    return f"Ios{changed[-1]}.{camel}" if changed else _capital(camel)


def layer_type(layer: Any) -> str:
    """A ``NeuralNetworkLayer`` message's name in the histogram; ``Unknown`` for a layer that the schema does not know."""
    kind = layer.WhichOneof("layer")
    if kind is None:
        return "Unknown"
    return _LAYERS.get(kind, _capital(kind)) + _capital(_variant(kind, getattr(layer, kind)))


def _variant(kind: str, message: Any) -> str:
    """What is told apart within one kind of layer; empty for most."""
    if kind == "activation":
        return message.WhichOneof("NonlinearityType") or ""
    if kind == "padding":
        return message.WhichOneof("PaddingType") or ""
    if kind in ("pooling", "unary"):
        # Releases since about 2024 write PoolingINVALID for pooling by maximum; the ones before wrote PoolingMax.
        return _choice(message, "type")
    return _choice(message, "mode") if kind == "reduce" else ""


def _choice(message: Any, field: str) -> str:
    """The name of an enumeration's value, as a word: ``EXP`` is ``Exp``."""
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(getattr(message, field))
    return value.name.capitalize() if value is not None else ""


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]
