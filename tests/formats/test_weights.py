"""Weight files; the oracles are coremltools' own writer and reader, PyTorch, and real files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from moka.errors import FormatError, InputError
from moka.formats import dtypes
from moka.formats.weights import WeightFile, WeightWriter

SIZES = (0, 1, 5, 8, 63, 64, 65, 1000)
NATIVE = {
    "float": dtypes.FP32,
    "fp16": dtypes.FP16,
    "int4": dtypes.INT4,
    "int8": dtypes.INT8,
    "int16": dtypes.INT16,
    "int32": dtypes.INT32,
    "uint1": dtypes.UINT1,
    "uint2": dtypes.UINT2,
    "uint3": dtypes.UINT3,
    "uint4": dtypes.UINT4,
    "uint6": dtypes.UINT6,
    "uint8": dtypes.UINT8,
    "uint16": dtypes.UINT16,
    "uint32": dtypes.UINT32,
}


def random_array(dtype: dtypes.DType, size: int) -> np.ndarray:
    random = np.random.default_rng(size)
    if dtype.is_float:
        return random.standard_normal(size).astype(dtype.numpy)
    low = -(2 ** (dtype.bits - 1)) if dtype.name.startswith("int") else 0
    return random.integers(low, low + 2**dtype.bits, size).astype(dtype.numpy)


def write_natively(path: Path, names: list[str]) -> list[tuple[int, dtypes.DType, np.ndarray]]:
    """Writes arrays of all sizes with coremltools' writer; returns where it put them, and what they are."""
    storage = pytest.importorskip("coremltools.libmilstoragepython")
    writer = storage._BlobStorageWriter(str(path))
    written = []
    for name in names:
        for size in SIZES:
            array = random_array(NATIVE[name], size)
            offset = getattr(writer, f"write_{name}_data")(array.view(np.uint16) if name == "fp16" else array)
            written.append((offset, NATIVE[name], array))
    del writer  # closes the file
    return written


@pytest.mark.parametrize("name", NATIVE)
def test_bytes_are_those_of_coremltools_writer(name: str, tmp_path: Path) -> None:
    written = write_natively(tmp_path / "native.bin", [name])
    with WeightWriter(tmp_path / "ours.bin") as writer:
        offsets = [writer.write(array, dtype) for _, dtype, array in written]
    assert offsets == [offset for offset, _, _ in written]
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "native.bin").read_bytes()


def test_reads_what_coremltools_writes(tmp_path: Path) -> None:
    written = write_natively(tmp_path / "weight.bin", list(NATIVE))
    file = WeightFile(tmp_path / "weight.bin")
    assert [record.record_offset for record in file.records()] == [offset for offset, _, _ in written]
    assert [record.dtype for record in file.records()] == [dtype for _, dtype, _ in written]
    for offset, dtype, array in written:
        assert np.array_equal(file.read(offset, dtype, array.shape), array)


@pytest.mark.parametrize("name", NATIVE)
def test_coremltools_reads_what_we_write(name: str, tmp_path: Path) -> None:
    storage = pytest.importorskip("coremltools.libmilstoragepython")
    array = random_array(NATIVE[name], 65)
    with WeightWriter(tmp_path / "weight.bin") as writer:
        offset = writer.write(array, NATIVE[name])
    back = getattr(storage._BlobStorageReader(str(tmp_path / "weight.bin")), f"read_{name}_data")(offset)
    assert np.array_equal(np.asarray(back).view(array.dtype).reshape(-1), array)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_small_floats_are_those_of_pytorch(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    dtype = {"bfloat16": dtypes.BF16, "float8_e4m3fn": dtypes.FP8E4M3FN, "float8_e5m2": dtypes.FP8E5M2}[name]
    tensor = torch.linspace(-3, 3, 50).to(getattr(torch, name))
    with WeightWriter(tmp_path / "weight.bin") as writer:
        offset = writer.write(tensor.view(torch.uint8).numpy().view(dtype.numpy), dtype)
    array = WeightFile(tmp_path / "weight.bin").read(offset, dtype, (5, 10))
    assert np.array_equal(array.astype(np.float32), tensor.float().reshape(5, 10).numpy())


def test_arrays_are_views_and_the_file_is_never_changed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "weight.bin"
    with WeightWriter(path) as writer:
        offset = writer.write(np.arange(6, dtype=np.float32), dtypes.FP32)
    before = path.read_bytes()
    file = WeightFile(path)
    array = file.read(offset, dtypes.FP32, (2, 3))
    assert np.shares_memory(array, file.read(offset, dtypes.FP32, (3, 2)))
    torch.from_numpy(array).add_(1)  # warnings are errors in tests: a view that can't be written would warn
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert path.read_bytes() == before


def test_view_outlives_the_file_object(tmp_path: Path) -> None:
    with WeightWriter(tmp_path / "weight.bin") as writer:
        offset = writer.write(np.arange(4, dtype=np.int8), dtypes.INT8)
    array = WeightFile(tmp_path / "weight.bin").read(offset, dtypes.INT8, (4,))
    assert array.tolist() == [0, 1, 2, 3]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells anonymous memory")
def test_reading_takes_no_anonymous_memory(tmp_path: Path) -> None:
    with WeightWriter(tmp_path / "weight.bin") as writer:
        offset = writer.write(np.ones(2**24, np.float32), dtypes.FP32)
    before = anonymous_bytes()
    array = WeightFile(tmp_path / "weight.bin").read(offset, dtypes.FP32, (2**24,))
    assert array.sum() == 2**24
    assert anonymous_bytes() - before < array.nbytes / 8


def anonymous_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def test_empty_and_scalar_shapes(tmp_path: Path) -> None:
    with WeightWriter(tmp_path / "weight.bin") as writer:
        empty = writer.write(np.zeros((0, 3), np.float16), dtypes.FP16)
        scalar = writer.write(np.array(2.5, np.float16), dtypes.FP16)
    file = WeightFile(tmp_path / "weight.bin")
    assert file.read(empty, dtypes.FP16, (0, 3)).shape == (0, 3)
    assert file.read(scalar, dtypes.FP16, ()).item() == 2.5


def test_real_files_written_again_are_the_same(corpus: Path, tmp_path: Path) -> None:
    paths = sorted(corpus.glob("**/*.mlpackage/**/weight.bin"))
    assert paths
    for path in paths:
        file = WeightFile(path)
        with WeightWriter(tmp_path / "weight.bin") as writer:
            for record in file.records():
                writer.write(file.read(record.record_offset, record.dtype, (record.count,)), record.dtype)
        expected = bytearray(path.read_bytes())
        for record in file.records():  # some real files have arbitrary bytes in the unused part of a record
            expected[record.record_offset + 24 : record.record_offset + 64] = bytes(40)
        assert (tmp_path / "weight.bin").read_bytes() == expected, path


def test_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "weight.bin").write_bytes(b"old")
    with pytest.raises(InputError), WeightWriter(tmp_path / "weight.bin") as writer:
        writer.write(np.full(3, 9, np.uint8), dtypes.UINT3)
    assert (tmp_path / "weight.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["weight.bin"]


@pytest.mark.parametrize("dtype", [dtypes.BOOL, dtypes.FP64, dtypes.INT64], ids=str)
def test_types_without_a_number_are_refused(dtype: dtypes.DType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"type {dtype}"), WeightWriter(tmp_path / "weight.bin") as writer:
        writer.write(np.zeros(1, dtype.numpy), dtype)


def test_closed_writer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not open"):
        WeightWriter(tmp_path / "weight.bin").write(np.zeros(1, np.int8), dtypes.INT8)


@pytest.fixture
def two_blobs(tmp_path: Path) -> Path:
    """A file with six fp16 values at 64 and five uint3 values at 192."""
    path = tmp_path / "weight.bin"
    with WeightWriter(path) as writer:
        assert writer.write(np.arange(6, dtype=np.float16), dtypes.FP16) == 64
        assert writer.write(np.arange(5, dtype=np.uint8), dtypes.UINT3) == 192
    return path


BROKEN_FIELDS = [
    # position, format, value, the blob that is read then, field in the message
    (4, "<I", 1, 64, "header: version"),
    (0, "<I", 2**32 - 1, 64, "header: count"),
    (64, "<I", 0, 64, "blob at 64: sentinel"),
    (68, "<I", 99, 64, "blob at 64: type"),
    (68, "<I", 2, 64, "blob at 64: type"),
    (72, "<Q", 2**64 - 1, 64, "blob at 64: size"),
    (72, "<Q", 11, 64, "blob at 64: size"),
    (72, "<Q", 10, 64, "blob at 64: size"),
    (80, "<Q", 2**64 - 64, 64, "blob at 64: size"),
    (80, "<Q", 129, 64, "blob at 64: data offset"),
    (80, "<Q", 64, 64, "blob at 64: data offset"),
    (192 + 24, "<Q", 2**63, 192, "blob at 192: padding"),
    (192 + 24, "<Q", 2, 192, "blob at 192: padding"),
]


@pytest.mark.parametrize(("position", "form", "value", "offset", "field"), BROKEN_FIELDS)
def test_broken_field_is_named(two_blobs: Path, position: int, form: str, value: int, offset: int, field: str) -> None:
    data = bytearray(two_blobs.read_bytes())
    struct.pack_into(form, data, position, value)
    two_blobs.write_bytes(data)
    dtype, shape = (dtypes.FP16, (2, 3)) if offset == 64 else (dtypes.UINT3, (5,))
    with pytest.raises(FormatError) as caught:
        WeightFile(two_blobs).read(offset, dtype, shape)
    assert str(caught.value).startswith(f"{two_blobs}: {field}: ")


@pytest.mark.parametrize("offset", [0, -64, 65, 256, 320, 2**40, 2**64])
def test_wrong_offset_is_refused(two_blobs: Path, offset: int) -> None:
    with pytest.raises(FormatError, match=f"weight.bin: blob at {offset}: "):
        WeightFile(two_blobs).read(offset, dtypes.FP16, (6,))


@pytest.mark.parametrize(
    "shape",
    [(5,), (7,), (), (0,), (2**32, 2**32), (2**63, 2), (-2, -3), (0, 2**62, 2**62), (2**60,) * 100_000, (1,) * 70 + (6,)],
    ids=lambda shape: f"rank {len(shape)}",
)
def test_wrong_shape_is_refused(two_blobs: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match=r"weight.bin: blob at 64: (size|shape): "):
        WeightFile(two_blobs).read(64, dtypes.FP16, shape)


def test_records_end_after_a_count_that_is_too_high(two_blobs: Path) -> None:
    data = bytearray(two_blobs.read_bytes())
    data[0] = 3
    two_blobs.write_bytes(data)
    with pytest.raises(FormatError, match="blob at 320: offset"):
        list(WeightFile(two_blobs).records())
