"""Root files that are not at hand, but whose SHA-256 is published beside what the models take and give: Moka's have that sum.

The sums are those of git-lfs pointers and of a list of pinned files; inputs, outputs and metadata are those of the ``metadata.json`` beside
them. Only the order of the entries of a map is free, for protobuf keeps none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import pytest

from moka.compiler.evidence import container_version
from moka.formats import schema
from moka.formats.mlmodelc.coremldata import Body, Header, NetworkBody, ProgramBody, Root, write_root

FLOAT32, INT32 = 65568, 131104
Feature = tuple[str, int, tuple[int, ...]]


@dataclass(frozen=True)
class Published:
    """A root file of which size and sum are known, and what is in it."""

    name: str
    size: int
    sha256: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    ranges: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    kind: str = "mlProgram"
    version: int = 8
    about: str = ""
    author: str = ""
    user_defined: dict[str, str] = field(
        default_factory=lambda: {"source": "torch==2.4.0", "source_dialect": "TorchScript", "version": "8.3.0"}
    )

    def description(self) -> Any:
        """The ``ModelDescription`` message, without the map of its metadata."""
        message = schema.model().ModelDescription()
        for features, target in ((self.inputs, message.input), (self.outputs, message.output)):
            for name, dtype, shape in features:
                feature = target.add(name=name)
                feature.type.multiArrayType.dataType = dtype
                feature.type.multiArrayType.shape.extend(shape)
                for low, high in self.ranges.get(name, ()):
                    feature.type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
        message.metadata.shortDescription, message.metadata.author = self.about, self.author
        return message

    def body(self, description: Any) -> Body:
        if self.kind == "mlProgram":
            return ProgramBody(description)
        return NetworkBody(description, [name for name, _, _ in self.outputs])

    def files(self) -> Iterator[bytes]:
        """The root file, with the entries of the map in each order."""
        description = self.description()
        for key, value in self.user_defined.items():
            description.metadata.userDefined[f"com.github.apple.coremltools.{key}"] = value
        header = Header(self.kind, "generic", container_version(self.kind, "generic", self.version)[0], self.version)
        written = write_root(Root(header, self.body(description)))
        orders = [b"".join(order) for order in permutations(self._entry(*item) for item in self.user_defined.items())]
        (own,) = (order for order in orders if order in written)
        for order in orders:
            yield written.replace(own, order)

    def _entry(self, key: str, value: str) -> bytes:
        message = schema.model().Metadata()
        message.userDefined[f"com.github.apple.coremltools.{key}"] = value
        return bytes(message.SerializeToString())


def encoder(name: str, size: int, sha256: str, frames: int, steps: int) -> Published:
    cache: tuple[Feature, ...] = (("cache_last_channel", FLOAT32, (17, 1, 70, 512)), ("cache_last_time", FLOAT32, (17, 1, 512, 8)))
    pre, length = (FLOAT32, (1, 128, 16)), (INT32, (1,))
    inputs: tuple[Feature, ...] = (("audio_signal", FLOAT32, (1, 128, frames)), ("audio_length", *length), ("pre_cache", *pre))
    outputs: tuple[Feature, ...] = (("encoded_output", FLOAT32, (1, 512, steps)), ("encoded_length", *length), ("new_pre_cache", *pre))
    new = tuple((f"new_{name}", dtype, shape) for name, dtype, shape in cache)
    return Published(
        name,
        size,
        sha256,
        (*inputs, *cache, ("cache_last_channel_len", *length)),
        (*outputs, *new, ("new_cache_last_channel_len", *length)),
    )


PUBLISHED = (
    # github.com/FluidInference/FluidAudio at 8842adb7, Models/ParakeetEOU/Streaming/NAME.mlmodelc: model.mil is for ios17.
    encoder("160ms/streaming_encoder", 670, "0dfbafd824cd3b873c314f8522f80adf3c1fbdee7ca01f721bca219b9bdde8ea", 17, 3),
    encoder("1280ms/streaming_encoder", 671, "41ce3f96c3d6b3333796fc4ed82cb0c9b4ea99396b88f8eec3ba24394ba2bb78", 129, 17),
    Published(
        "160ms/decoder",
        497,
        "c3ccbff963d8cf07e2be2bd56ea3384a89ea49628922c6bd95ff62e2ae57dc34",
        (
            ("targets", INT32, (1, 1)),
            ("target_length", INT32, (1,)),
            ("h_in", FLOAT32, (1, 1, 640)),
            ("c_in", FLOAT32, (1, 1, 640)),
        ),
        (("decoder", FLOAT32, (1, 640, 1)), ("h_out", FLOAT32, (1, 1, 640)), ("c_out", FLOAT32, (1, 1, 640))),
        about="Parakeet EOU decoder (RNNT prediction network)",
        author="Fluid Inference",
    ),
    Published(
        "joint_decision",
        493,
        "22d4abc4625b935ee035b5f8ce7cb28d1041b9b01c12173e287bf4b5f5d99625",
        (("encoder_step", FLOAT32, (1, 512, 1)), ("decoder_step", FLOAT32, (1, 640, 1))),
        (
            ("token_id", INT32, (1, 1, 1)),
            ("token_prob", FLOAT32, (1, 1, 1)),
            ("top_k_ids", INT32, (1, 1, 1, 64)),
            ("top_k_logits", FLOAT32, (1, 1, 1, 64)),
        ),
        about="Parakeet EOU single-step joint decision",
        author="Fluid Inference",
    ),
    Published(
        "160ms/parakeet_eou_preprocessor",
        422,
        "dc7252fa47622fe39577361233627062019a3bb740fdbb5366a7bae09df0ec5e",
        (("audio_signal", FLOAT32, (1, 1)), ("audio_length", INT32, (1,))),
        (("mel", FLOAT32, ()), ("mel_length", INT32, (1,))),
        ranges={"audio_signal": ((1, 1), (1, 32000))},
        about="Parakeet EOU preprocessor",
        author="Fluid Inference",
    ),
    # An application's list of the files of this model, which it pins. It does not say which torch and coremltools made the source: of 1.2
    # million combinations of their releases, specification versions and container versions, this one has the sum.
    Published(
        "20440.3_sod_fp16",
        312,
        "a04a8dd8a953d4292f6d65c4972e14859712d20388194ba455615986801d3530",
        (("data", FLOAT32, (1, 3, 256, 256)), ("prev_img", FLOAT32, (1, 3, 256, 256)), ("prev_mask", FLOAT32, (1, 1, 256, 256))),
        (("nn_3", FLOAT32, ()),),
        kind="neuralNetwork",
        version=5,
        user_defined={"source": "torch==1.10.0", "version": "6.0"},
    ),
)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_root_file_has_the_published_sum(published: Published) -> None:
    files = list(published.files())
    assert {len(data) for data in files} == {published.size}
    assert published.sha256 in {hashlib.sha256(data).hexdigest() for data in files}
    assert container_version(published.kind, "generic", published.version)[1]
