"""The stand-ins for coremltools' two libraries read and write what the real ones do; those are the oracle."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest

from moka.bridge.milstorage import _BlobStorageReader as Reader
from moka.bridge.milstorage import _BlobStorageWriter as Writer
from moka.bridge.modelpackage import ModelPackage

# Of the real libraries, which not every platform has.
milstorage = pytest.importorskip("coremltools.libmilstoragepython")
modelpackage = pytest.importorskip("coremltools.libmodelpackage")

RANGES = {
    "int4": (-8, 8),
    "uint1": (0, 2),
    "uint2": (0, 4),
    "uint3": (0, 8),
    "uint4": (0, 16),
    "uint6": (0, 64),
    "int8": (-128, 128),
    "uint8": (0, 256),
    "int16": (-(2**15), 2**15),
    "uint16": (0, 2**16),
    "int32": (-(2**31), 2**31),
    "uint32": (0, 2**32),
    "fp16": (0, 2**16),
    "float": (-100, 100),
}


def _write_all(writer_class, path):
    writer = writer_class(str(path))
    random = np.random.default_rng(0)
    offsets = []
    for name, (low, high) in RANGES.items():
        for size in (1, 7, 24):
            array = random.integers(low, high, size)
            offsets.append(getattr(writer, f"write_{name}_data")(array))
    offsets.append(writer.write_float_data(random.standard_normal((4, 6))[:, ::2]))  # two dimensions, not contiguous, float64
    offsets.append(writer.write_float_data([1, 2, 3]))
    del writer
    gc.collect()
    return offsets


def test_weight_files_are_the_same_bytes(tmp_path):
    assert _write_all(Writer, tmp_path / "ours.bin") == _write_all(milstorage._BlobStorageWriter, tmp_path / "real.bin")
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "real.bin").read_bytes()


def test_weight_files_are_read_the_same(tmp_path):
    offsets = iter(_write_all(milstorage._BlobStorageWriter, tmp_path / "real.bin"))
    ours, real = Reader(str(tmp_path / "real.bin")), milstorage._BlobStorageReader(str(tmp_path / "real.bin"))
    for name in RANGES:
        for _ in range(3):
            offset = next(offsets)
            ours_array, real_array = (getattr(reader, f"read_{name}_data")(offset) for reader in (ours, real))
            assert ours_array.dtype == real_array.dtype
            np.testing.assert_array_equal(ours_array, real_array)


def test_appending_goes_on_where_the_file_ends(tmp_path):
    for writer_class, name in ((Writer, "ours.bin"), (milstorage._BlobStorageWriter, "real.bin")):
        path = str(tmp_path / name)
        writer_class(path).write_uint8_data(np.arange(5))
        gc.collect()
        writer_class(file_name=path, truncate_file=False).write_float_data(np.ones(3))
        gc.collect()
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "real.bin").read_bytes()


@pytest.mark.parametrize("name", ["int4", "uint1", "uint3", "uint6"])
def test_values_out_of_range_are_the_same_error(tmp_path, name):
    messages = []
    for writer_class in (Writer, milstorage._BlobStorageWriter):
        with pytest.raises(ValueError, match="outside allowed subbyte datatype range") as caught:
            getattr(writer_class(str(tmp_path / "x.bin")), f"write_{name}_data")(np.array([1, 80, 99]))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("storage", ["moka", "coremltools"])
def test_wrong_reads_and_files_are_the_same_kinds_of_error(tmp_path, storage):
    reader_class, writer_class = (Reader, Writer) if storage == "moka" else (milstorage._BlobStorageReader, milstorage._BlobStorageWriter)
    writer = writer_class(str(tmp_path / "x.bin"))
    offset = writer.write_float_data(np.ones(300))
    del writer
    gc.collect()
    reader = reader_class(str(tmp_path / "x.bin"))
    with pytest.raises(RuntimeError, match="type"):
        reader.read_int32_data(offset)
    with pytest.raises(RuntimeError, match=r".+"):
        reader.read_float_data(offset + 64)
    with pytest.raises(RuntimeError, match="nothing"):
        reader_class(str(tmp_path / "nothing.bin")).read_float_data(64)
    with pytest.raises(RuntimeError, match="nothing"):
        writer_class(str(tmp_path / "nothing" / "x.bin"))
    with pytest.raises(TypeError):
        writer_class(str(tmp_path / "y.bin")).write_float_data("abc")
    (tmp_path / "junk.bin").write_bytes(b"x" * 100)
    with pytest.raises(RuntimeError, match=r".+"):
        writer_class(str(tmp_path / "junk.bin"), False)


def _make_package(package_class, folder: Path) -> dict:
    """Makes and changes a package, and tells what it said and what is in the folder; identifiers are left out."""
    folder.mkdir()
    (folder / "first.mlmodel").write_bytes(b"first")
    (folder / "second.mlmodel").write_bytes(b"second")
    (folder / "source").mkdir()
    (folder / "source" / "weight.bin").write_bytes(b"weights")
    path = folder / "x.mlpackage"
    package = package_class(str(path))
    package.setRootModel(str(folder / "first.mlmodel"), "model.mlmodel", "com.apple.CoreML", "the model")
    with pytest.raises(RuntimeError, match="already exists"):
        package.setRootModel(str(folder / "first.mlmodel"), "other.mlmodel", "com.apple.CoreML", "the model")
    package.addItem(str(folder / "source"), "weights", "com.apple.CoreML", "the weights")
    with pytest.raises(RuntimeError, match="already contains"):
        package.addItem(str(folder / "source"), "weights", "com.apple.CoreML", "the weights")
    with pytest.raises(RuntimeError, match="absent"):
        package.addItem(str(folder / "absent"), "more", "com.apple.CoreML", "")
    identifier = package.replaceRootModel(str(folder / "second.mlmodel"), "model.mlmodel", "com.apple.CoreML", "the new model")
    root = package.getRootModel()
    weights = package.findItemByNameAuthor("weights", "com.apple.CoreML")
    said = {
        "identifier": root.identifier() == identifier,
        "root": (Path(root.path()).relative_to(path), root.name(), root.author(), root.description()),
        "weights": (Path(weights.path()).relative_to(path), weights.name(), weights.description()),
        "none": package.findItemByNameAuthor("weights", "someone"),
        "path": package.path() == str(path),
    }
    del package, root, weights
    gc.collect()
    manifest = json.loads((path / "Manifest.json").read_text())
    entries = manifest.pop("itemInfoEntries")
    said["manifest"] = (entries.pop(manifest.pop("rootModelIdentifier")), list(entries.values()), manifest)
    said["files"] = {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file() and file.suffix != ".json"}
    said["valid"] = package_class.isValid(str(path))
    return said


def test_packages_are_the_same(tmp_path):
    ours = _make_package(ModelPackage, tmp_path / "ours")
    assert ours == _make_package(modelpackage.ModelPackage, tmp_path / "real")
    assert ours["files"][Path("Data/com.apple.CoreML/model.mlmodel")] == b"second"


def test_each_opens_the_others_packages(tmp_path):
    _make_package(ModelPackage, tmp_path / "ours")
    _make_package(modelpackage.ModelPackage, tmp_path / "real")
    ours = ModelPackage(str(tmp_path / "real" / "x.mlpackage")).getRootModel()
    real = modelpackage.ModelPackage(str(tmp_path / "ours" / "x.mlpackage")).getRootModel()
    assert Path(ours.path()).read_bytes() == Path(real.path()).read_bytes() == b"second"


@pytest.mark.parametrize("package_class", [ModelPackage, modelpackage.ModelPackage], ids=["moka", "coremltools"])
@pytest.mark.parametrize("manifest", [None, "{", "{}", '{"fileFormatVersion": "2.0.0"}'])
def test_what_is_no_package_is_refused(tmp_path, package_class, manifest):
    if manifest is not None:
        (tmp_path / "Manifest.json").write_text(manifest)
    with pytest.raises(RuntimeError):
        package_class(str(tmp_path))
    if package_class is ModelPackage:  # coremltools' raises for some of these
        assert package_class.isValid(str(tmp_path)) is False


@pytest.mark.parametrize("package_class", [ModelPackage, modelpackage.ModelPackage], ids=["moka", "coremltools"])
def test_an_empty_package_is_valid_and_has_no_root_model(tmp_path, package_class):
    path = str(tmp_path / "empty.mlpackage")
    package_class(path)
    gc.collect()
    assert package_class.isValid(path)
    with pytest.raises(RuntimeError, match="root"):
        package_class(path).getRootModel()


def test_an_item_can_not_leave_the_package(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    package = ModelPackage(str(tmp_path / "x.mlpackage"))
    with pytest.raises(RuntimeError, match=r"\.\."):
        package.addItem(str(tmp_path / "file"), "../../escaped", "com.apple.CoreML", "")
    assert not (tmp_path / "escaped").exists()


CONVERT = """
import sys, logging
replace, folder = sys.argv[1] == "True", sys.argv[2]
import moka.bridge
moka.bridge.install(replace_libraries=replace)
import coremltools as ct, torch, numpy as np
import coremltools.optimize.coreml as cto
from tests.bridge.conftest import Network
torch.manual_seed(0)
traced = torch.jit.trace(Network().eval(), torch.zeros(1, 40))
model = ct.convert(traced, inputs=[ct.TensorType(name="x", shape=(1, 40))], minimum_deployment_target=ct.target.iOS18)
config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=8))
for name, variant in {"fp16": model, "int4": cto.linear_quantize_weights(model, config)}.items():
    variant.save(f"{folder}/{name}.mlpackage")
print(type(ct.models.MLModel(f"{folder}/fp16.mlpackage").weights_dir).__name__, ct.models.model._ModelPackage.__module__)
"""


@pytest.mark.slow
def test_converting_and_compressing_with_either_gives_the_same_packages(python, tmp_path):
    for replace in (True, False):
        folder = tmp_path / str(replace)
        folder.mkdir()
        root = str(Path(__file__).resolve().parents[2])
        printed = python("-c", CONVERT, str(replace), str(folder), PYTHONPATH=root)
        assert printed.endswith("moka.bridge.modelpackage" if replace else "coremltools.libmodelpackage")
    for name in ("fp16", "int4"):
        ours, real = ({file.name: file for file in (tmp_path / side / f"{name}.mlpackage").rglob("*.*")} for side in ("True", "False"))
        assert ours.keys() == real.keys() == {"Manifest.json", "com.apple.CoreML", "model.mlmodel", "weight.bin"}
        assert ours["weight.bin"].read_bytes() == real["weight.bin"].read_bytes()
        assert _without_date(ours["model.mlmodel"]) == _without_date(real["model.mlmodel"])


def _without_date(path: Path):
    import coremltools

    spec = coremltools.utils.load_spec(str(path))
    for key in ("com.github.apple.coremltools.conversion_date",):
        spec.description.metadata.userDefined.pop(key, None)
    return spec
