"""Writes docs/compiled-networks.md: what each kind of layer is compiled to, and how that is known.

Run it from the root of the repository, after a change of a translation: ``python scripts/compiled_layers.py``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from moka.compiler.espresso import evidence
from moka.compiler.espresso.registry import LAYERS
from moka.formats import schema

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compiled-networks.md"

HEAD = """# Compiled networks

The table is written by `scripts/compiled_layers.py` from the translations in `moka.compiler.espresso`; don't edit this page, edit the
script.

`moka compile` writes a neural network as Apple's compiler does: `model.espresso.net` (layers), `model.espresso.shape` (the sizes of every
blob), `model.espresso.weights`, `model/coremldata.bin` (what is done to images) and `neural_network_optionals/coremldata.bin`. What no
real file shows is refused, with the layer and the field in the message; `--unverified` writes Moka's own reading, and `metadata.json`
lists what was guessed.

*Verified* counts the real pairs of a source and its compiled model in which the layer comes out equal, in all files. *Seen* is a compiled
model without its source, or a public list of what `coremlcompiler` made of 106 networks; where such a model is at hand, it is read back
and compiles to itself again. *Inferred* is a guess: nothing inferred is written without `--unverified`. With it every network of
`NeuralNetworkBuilder` compiles, reads back and predicts the same: tests take all 158 kinds of layer there and back.

## Rules

- Folded: zero padding into the convolution after it; batch normalization into weights and biases of the convolution before it; ReLU into
  the convolution or inner product before it. Not where another layer reads the blob between, or the model gives it out; a ReLU whose own
  result is an output stays. The release of 2019 left padding alone.
- Blobs of weights are numbered 1, 3, 5 ... as layers need them: biases, then weights; nothing for a layer without biases. A deconvolution
  takes both twice, and uses the second. Even numbers are the padding to multiples of 64.
- Weights are stored in their form, float32 or float16; biases are float32, those of inner products in four times their room.
- `_rank` stands beside sizes where blobs have the axes of the source (`EXACT_ARRAY_MAPPING`), `seq` where it is not 1.
- A layer that reads or writes a blob with more than 8192 channels, over batch and sequence, has `hint_fallback_from_metal`.
- Every real network with half-precision weights comes from releases of 2021 and before, which write no `metadata_in_weights`; so those
  have none.
- `neural_network_optionals/coremldata.bin` is five numbers, of which the third is 1 for exact shapes. The release of 2019 wrote four;
  nothing in a source tells which.
- `model.rank.info.json` (`--rank-info`) is Moka's own reading of a file that no real model at hand has: {"blob": rank}.

## What is a guess beside the layers below

Images in the order BGR, several images, biases that differ between colours, mean images; optional inputs, enumerated shapes and ranges of
image sizes; networks that can be trained; only one of the two mappings of shapes being exact; blobs that several layers write; blobs whose
shape depends on data or on a custom layer, which the shape file then lacks. Quantized weights are written as the float32 numbers that
they stand for: public networks have 8-bit ones (`W_U8`, `per_ch_qscale`, `per_ch_qbias`, which are read) and tables
(`quantization_lut_weights_blob`, `quantization_ranges_blob`, whose layout is not known), but none with the source they were made of. Half
precision in inner products is known from programs that read such networks, and from no network.

## Moka's own form

What has no other form is written as its message in the source is, field by field, under names that nothing else uses:

    {"type": "mvn", "moka_layer": "mvn", "moka_parameters": {"acrossChannels": true, "epsilon": 1e-05}, ...}

Weights are blobs of the weight file, in the form that the source has them in; nested networks are such messages too. `moka_preprocessing`
in the net does the same for mean images. The type is the one that public accounts have for the layer (`rnn_arch` for recurrent ones), else
its kind. Nothing but Moka reads this: a device refuses it. Custom layers are such layers, with their parameters and weights, and
`containsCustomLayer` is 1 in the analytics.

## Layers

| layer | compiled to | how it is known | what of it |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [f"| {kind} | {compiled} | {found} | {found.scope} |\n" for kind, compiled, found in evidence()]
    tail = textwrap.fill(
        f"All other kinds of layer have Moka's own form only: {_listed(kind for kind in kinds() if kind not in LAYERS)}.", 140
    )
    return HEAD + "".join(rows) + f"\n{tail}\n"


def kinds() -> list[str]:
    """All kinds of layer that the format has."""
    layer = schema.message_module("NeuralNetwork_pb2").NeuralNetworkLayer.DESCRIPTOR
    return [field.name for field in layer.oneofs_by_name["layer"].fields]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names, key=str.lower))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
