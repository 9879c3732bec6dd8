"""Packing of elements; the oracle is NumPy's ``unpackbits``, and coremltools' writer in ``test_weights``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moka.errors import FormatError, InputError
from moka.formats import dtypes
from moka.formats.packing import pack, packed_size, unpack

SUB_BYTE = [dtypes.INT4, dtypes.UINT1, dtypes.UINT2, dtypes.UINT3, dtypes.UINT4, dtypes.UINT6]
WHOLE_BYTE = [dtype for dtype in dtypes.BY_NAME.values() if dtype.bits and not dtype.is_sub_byte]


def bounds(dtype: dtypes.DType) -> tuple[int, int]:
    return (-8, 7) if dtype is dtypes.INT4 else (0, 2**dtype.bits - 1)


@st.composite
def sub_byte_arrays(draw: st.DrawFn) -> tuple[dtypes.DType, np.ndarray]:
    dtype = draw(st.sampled_from(SUB_BYTE))
    values = draw(st.lists(st.integers(*bounds(dtype)), max_size=70))
    return dtype, np.array(values, dtype.numpy)


@given(sub_byte_arrays())
def test_sub_byte_bits(pair: tuple[dtypes.DType, np.ndarray]) -> None:
    dtype, array = pair
    data = pack(array, dtype)
    bits = np.unpackbits(array.view(np.uint8)[:, None], axis=1, bitorder="little")[:, : dtype.bits]
    assert data == np.packbits(bits, bitorder="little").tobytes()
    assert len(data) == packed_size(array.size, dtype)


@given(sub_byte_arrays())
def test_sub_byte_round_trip(pair: tuple[dtypes.DType, np.ndarray]) -> None:
    dtype, array = pair
    back = unpack(pack(array, dtype), dtype, array.size)
    assert back.dtype == dtype.numpy
    assert np.array_equal(back, array)


@given(st.sampled_from(WHOLE_BYTE), st.binary(max_size=64))
def test_whole_byte_round_trip(dtype: dtypes.DType, data: bytes) -> None:
    if dtype is dtypes.BOOL:
        data = bytes(byte & 1 for byte in data)
    count = len(data) * 8 // dtype.bits
    data = data[: count * dtype.bits // 8]
    array = unpack(data, dtype, count)
    assert (array.dtype, array.size) == (dtype.numpy, count)
    assert pack(array, dtype) == data


def test_array_of_several_dimensions_is_packed_in_row_major_order() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert pack(array.T, dtypes.UINT4) == bytes([0x30, 0x41, 0x52])


@pytest.mark.parametrize("dtype", SUB_BYTE, ids=str)
def test_value_out_of_range_is_refused(dtype: dtypes.DType) -> None:
    low, high = bounds(dtype)
    for value in (low - 1, high + 1):
        if value < 0 and dtype.numpy == np.uint8:
            continue
        with pytest.raises(InputError, match=f"allowed {low} to {high}"):
            pack(np.array([0, value], dtype.numpy), dtype)


def test_other_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="found NumPy dtype int64, expected uint8"):
        pack(np.arange(3), dtypes.UINT4)
    with pytest.raises(InputError, match="type string"):
        pack(np.array(["a"], object), dtypes.STRING)


@pytest.mark.parametrize(("size", "count"), [(1, 3), (3, 3), (2, -1), (0, 1)])
def test_wrong_number_of_bytes_is_refused(size: int, count: int) -> None:
    with pytest.raises(FormatError, match=f"elements of type uint4: found {size} bytes"):
        unpack(bytes(size), dtypes.UINT4, count)
