"""Layers that resample rows and columns."""

from __future__ import annotations

from moka.formats.espresso.reading import CompiledLayer, reads

_MODES = {0: "NN", 1: "BILINEAR"}
_BILINEAR = 1


@reads("upsample")
def _upsample(layer: CompiledLayer) -> None:
    """By whole or, where it says so, fractional factors; the corner pixels are aligned or not, or as releases before did it."""
    layer.expect_inputs(1)
    params = layer.add("upsample")
    params.mode = params.InterpolationMode.Value(layer.choice("mode", _MODES))
    factors = [layer.integer("scaling_factor_y", 1), layer.integer("scaling_factor_x", 1)]
    fractional = [layer.number("fractional_scaling_factor_y", 1), layer.number("fractional_scaling_factor_x", 1)]
    if layer.flag("use_fractional_scale_factors"):
        params.fractionalScalingFactor.extend(fractional)
    elif min(factors) < 1:
        raise layer.refuse("scaling_factor_x and scaling_factor_y", f"found {factors[::-1]}, expected 1 or more")
    else:
        params.scalingFactor.extend(factors)
    _set_alignment(layer, params)


def _set_alignment(layer: CompiledLayer, params: object) -> None:
    stated = layer.has("align_corners")
    aligned, legacy = layer.flag("align_corners"), layer.flag("is_legacy_mode")
    modes = params.LinearUpsampleMode  # type: ignore[attr-defined]
    name = "DEFAULT" if legacy or not stated else "ALIGN_CORNERS_TRUE" if aligned else "ALIGN_CORNERS_FALSE"
    if params.mode == _BILINEAR:  # type: ignore[attr-defined]
        params.linearUpsampleMode = modes.Value(name)  # type: ignore[attr-defined]


@reads("crop_and_resize")
def _resize(layer: CompiledLayer) -> None:
    """The whole of a blob to another size; with boxes as a second input it has no known meaning."""
    layer.expect_inputs(1)
    layer.only("mode", _BILINEAR, default=_BILINEAR)
    layer.only("spatial_scale", 1, default=1)
    layer.only("crop_index_mode", 0, 1)
    params = layer.add("resizeBilinear")
    params.targetSize.extend([layer.integer("target_size_h", low=1), layer.integer("target_size_w", low=1)])
    params.mode.samplingMethod = layer.integer("grid_sampling_mode", 0, high=3)
