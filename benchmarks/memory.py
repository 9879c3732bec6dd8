"""Memory of a package with 500 MB of fp32 (or fp16) weights: loaded, after the first prediction, after ten.

    python benchmarks/memory.py [--megabytes 500] [--dtype fp32]

Each line is the process's own anonymous memory and resident set, as the system states them in /proc/self/smaps_rollup; the first line
is taken when PyTorch is imported and no model is loaded, so that differences are the model's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LAYERS = 5


def build(folder: Path, megabytes: int, dtype: str) -> Path:
    """A chain of linear layers x W^T with the wanted total of weights, written with Moka's own writers."""
    from moka.formats import schema
    from moka.formats.dtypes import BY_NAME, DType
    from moka.formats.mlpackage import write_package
    from moka.formats.weights import WeightWriter

    element = BY_NAME[dtype]
    size = int((megabytes * 2**20 / LAYERS / (element.bits // 8)) ** 0.5)
    random = np.random.default_rng(0)
    weights = folder / "weight.bin"
    with WeightWriter(weights) as writer:
        offsets = [
            writer.write(random.standard_normal((size, size), np.float32).astype(element.numpy) / element.numpy.type(size**0.5), element)
            for _ in range(LAYERS)
        ]

    model = schema.model().Model(specificationVersion=7)  # the first with fp16 inputs

    def tensor(message: object, kind: DType, *shape: int) -> None:
        message.tensorType.dataType, message.tensorType.rank = kind.mil, len(shape)  # type: ignore[attr-defined]
        for length in shape:
            message.tensorType.dimensions.add().constant.size = length  # type: ignore[attr-defined]

    function = model.mlProgram.functions["main"]
    model.mlProgram.version = 1
    function.opset = "CoreML6"
    block = function.block_specializations["CoreML6"]
    entry = function.inputs.add(name="x")
    tensor(entry.type, element, 1, size)
    name = "x"
    for index, offset in enumerate(offsets):
        constant = block.operations.add(type="const")
        output = constant.outputs.add(name=f"w{index}")
        tensor(output.type, element, size, size)
        value = constant.attributes["val"]
        tensor(value.type, element, size, size)
        value.blobFileValue.fileName, value.blobFileValue.offset = "@model_path/weights/weight.bin", offset
        layer = block.operations.add(type="linear")
        layer.inputs["x"].arguments.add(name=name)
        layer.inputs["weight"].arguments.add(name=f"w{index}")
        name = f"y{index}"
        tensor(layer.outputs.add(name=name).type, element, 1, size)
    block.outputs.append(name)
    for features, label in ((model.description.input, "x"), (model.description.output, name)):
        array = features.add(name=label).type.multiArrayType
        array.dataType = schema.message_module("FeatureTypes_pb2").ArrayFeatureType.ArrayDataType.Value(f"FLOAT{element.bits}")
        array.shape.extend([1, size])
    package = folder / "big.mlpackage"
    write_package(package, model, {"weight.bin": weights})
    return package


def figures() -> tuple[float, float]:
    """Anonymous and resident memory of this process, in MiB."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, number = line.split(":")
        fields[name] = int(number.split()[0]) / 1024
    return fields["Anonymous"], fields["Rss"]


def measure(package: Path) -> None:
    import torch

    import moka
    from moka.models import program_model  # noqa: F401  so that the model's own memory is what the difference shows

    torch.set_num_threads(2)
    base, _ = figures()

    def show(stage: str) -> None:
        anonymous, resident = figures()
        print(f"{stage:24} anonymous {anonymous:8.1f} MiB ({anonymous - base:+8.1f})   resident {resident:8.1f} MiB", flush=True)

    show("PyTorch and Moka imported")
    model = moka.load(package)
    show("loaded")
    (feature,) = model.function.inputs.values()
    data = {feature.name: np.ones(feature.shape, np.float32)}
    model.predict(data)
    show("after the first prediction")
    for _ in range(10):
        model.predict(data)
    show("after ten more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--dtype", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--package", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.package:
        measure(options.package)
        return
    with tempfile.TemporaryDirectory() as folder:
        package = build(Path(folder), options.megabytes, options.dtype)
        size = sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) / 2**20
        print(f"package: {size:.0f} MiB of {options.dtype} weights in {LAYERS} linear layers", flush=True)
        subprocess.run([sys.executable, __file__, "--package", str(package)], check=True)


if __name__ == "__main__":
    main()
