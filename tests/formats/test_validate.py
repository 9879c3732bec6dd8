"""All problems of a model at once; the attacks' tests check each problem on its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from moka.formats import dtypes, schema
from moka.formats.mlmodel import read_specification, write_specification
from moka.formats.mlpackage import write_package
from moka.formats.validate import blob_values, problems, programs
from moka.formats.weights import WeightWriter
from tests.attacks import builders as build


def texts(path: Path) -> list[str]:
    return [str(problem).replace(str(path), "") for problem in problems(path)]


def test_real_models_have_no_problems(corpus: Path) -> None:
    paths = [*corpus.glob("**/*.mlpackage"), *corpus.glob("models/*.mlmodel"), *corpus.glob("pairs/*/*.mlmodel")]
    assert len(paths) > 20
    assert {path.name: texts(path) for path in paths if problems(path)} == {}


def test_problems_of_a_compiled_model(corpus: Path, tmp_path: Path) -> None:
    compiled = corpus / "pairs" / "silero-int8" / "unified_int8.mlmodelc"
    assert texts(compiled) == []
    shutil.copytree(compiled, tmp_path / "a.mlmodelc")
    weights = tmp_path / "a.mlmodelc" / "weights" / "weight.bin"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-64])
    assert texts(tmp_path / "a.mlmodelc")[0].startswith("/model.mil: mlProgram: function 'main'")
    weights.unlink()
    assert "weights/weight.bin' does not exist" in texts(tmp_path / "a.mlmodelc")[0]
    (tmp_path / "a.mlmodelc" / "coremldata.bin").unlink()
    assert "/coremldata.bin: no such file" in texts(tmp_path / "a.mlmodelc")[0]


def test_every_problem_of_a_manifest_is_found(tmp_path: Path) -> None:
    path = build.package(tmp_path)
    manifest = json.loads((path / "Manifest.json").read_bytes())
    entries = manifest["itemInfoEntries"]
    model = entries[manifest["rootModelIdentifier"]]
    entries |= {"A": {**model, "path": "../a"}, "B": {"author": "b"}, "C": {**model, "name": "c", "path": "none"}}
    manifest |= {"fileFormatVersion": "9.0", "rootModelIdentifier": "Z"}
    (path / "Manifest.json").write_text(json.dumps(manifest))
    starts = ["fileFormatVersion: ", "rootModelIdentifier: ", *(f"itemInfoEntries['{key}']" for key in "BAAC")]
    found = texts(path)
    assert len(found) == len(starts)
    for text, start in zip(found, starts, strict=True):
        assert text.startswith(f"/Manifest.json: {start}")


def test_every_wrong_reference_is_found_with_its_operation(tmp_path: Path) -> None:
    path = build.package(tmp_path)
    specification = read_specification(path / build.MODEL)
    block = specification.mlProgram.functions["main"].block_specializations["CoreML7"]
    for index, offset in enumerate((65, 192, 64, 2**50)):
        operation = block.operations.add()
        operation.CopyFrom(block.operations[0])
        operation.outputs[0].name = f"copy_{index}"
        operation.attributes["val"].blobFileValue.offset = offset
    write_specification(specification, path / build.MODEL)
    found = texts(path)
    assert [text.split(": attribute 'val'")[0].rsplit(": ", 1)[-1] for text in found] == [
        "const 'copy_0'",
        "const 'copy_1'",
        "const 'copy_3'",
    ]
    assert "found uint3, the program declares fp16" in found[1]


def test_overlapping_blobs_are_found(tmp_path: Path) -> None:
    inner = np.zeros(64, np.uint32)
    inner[:6] = (0xDEADBEEF, dtypes.FP16.blob, 12, 0, 192, 0)  # a record that lies in another blob's data
    with WeightWriter(tmp_path / "weight.bin") as writer:
        writer.write(inner, dtypes.UINT32)
    specification = build.program_with_blob()
    build.constant_value(specification).blobFileValue.offset = 128
    write_package(tmp_path / "model.mlpackage", specification, {"weight.bin": tmp_path / "weight.bin"})
    (text,) = texts(tmp_path / "model.mlpackage")
    assert text.endswith("weight.bin: blob at 128: overlaps the blob at 64, whose data ends at 384")


def test_bytes_after_the_last_blob_are_found(tmp_path: Path) -> None:
    path = build.package(tmp_path)
    with (path / build.WEIGHTS).open("ab") as file:
        file.write(bytes(1000))
    (text,) = texts(path)
    assert text.endswith("weight.bin: header: count: 2 blobs end at 258, but the file has 1258 bytes")


def test_programs_of_pipelines_and_values_in_lists_are_looked_at() -> None:
    model = schema.model().Model(specificationVersion=8)
    inner = model.pipelineClassifier.pipeline.models.add()
    inner.pipeline.models.add().identity.SetInParent()
    nested = inner.pipeline.models.add()
    nested.CopyFrom(build.program_with_blob())
    value = build.constant_value(nested)
    blob = value.__deepcopy__({})
    value.Clear()
    value.immediateValue.list.values.add().immediateValue.tuple.values.add().CopyFrom(blob)
    pair = value.immediateValue.list.values.add().immediateValue.dictionary.values.add()
    pair.value.CopyFrom(blob)
    ((program, where),) = programs(model)
    assert where == "pipelineClassifier.models[0].pipeline.models[1].mlProgram"
    assert [found.blobFileValue.offset for _, found in blob_values(program, where)] == [64, 64]
