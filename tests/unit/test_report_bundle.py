"""What a page carries: arrays and JSON that a browser reads as they were, and that never leave their element."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from report_section import HOSTILE

from spadework.report.bundle import Bundle, data_uri, to_json

DTYPES = ["uint8", "uint16", "uint32", "int32", "float32", "float64"]


def unpack(bundle: Bundle, name: str) -> np.ndarray:
    described = bundle.described[name]
    values = np.frombuffer(
        gzip.decompress(base64.b64decode(bundle.blobs[name])), np.dtype(described["dtype"]).newbyteorder("<")
    )
    assert len(values) == described["length"]
    return values


@given(
    st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=2, min_side=0)))
)
def test_an_array_comes_back_bit_by_bit_in_c_order(values):
    bundle = Bundle()
    assert unpack(bundle, bundle.add(values)).tobytes() == values.tobytes()


def test_big_endian_and_fortran_arrays_come_back_too():
    values = np.arange(12, dtype=">f4").reshape(3, 4)
    bundle = Bundle()
    np.testing.assert_array_equal(unpack(bundle, bundle.add(np.asfortranarray(values))), np.arange(12))


def test_what_a_browser_has_no_type_for_is_refused():
    with pytest.raises(ValueError, match="int64"):
        Bundle().add(np.arange(3))


def test_the_same_arrays_make_the_same_page():
    made = []
    for _ in range(2):
        bundle = Bundle()
        bundle.add(np.linspace(0, 1, 1000, dtype=np.float32))
        bundle.add_tiles({"0/0/0": b"tile"})
        made.append((bundle.blobs, bundle.tiles, bundle.described))
    assert made[0] == made[1]
    assert base64.b64decode(made[0][0]["a0"])[4:8] == bytes(4)  # gzip's place for a time


@given(
    st.recursive(
        st.text() | st.integers() | st.none() | st.booleans(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_json_is_read_as_it_was_and_has_nothing_that_ends_a_script(value):
    text = to_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_values_and_keys(name):
    assert json.loads(to_json({name: [name]})) == {name: [name]}


def test_numbers_of_numpy_and_pandas_are_numbers_and_what_is_none_is_null():
    value = {
        "a": np.float32(0.5),
        "b": np.array([1, 2]),
        "c": [np.nan, np.inf, pd.NA, None, pd.NaT],
        "d": (np.int64(3), np.bool_(True)),
        1: pd.Timestamp("2026-01-01"),
    }
    assert json.loads(to_json(value)) == {
        "a": 0.5,
        "b": [1, 2],
        "c": [None] * 5,
        "d": [3, True],
        "1": "2026-01-01 00:00:00",
    }


def test_a_file_as_a_data_uri():
    assert data_uri(b"<svg/>", "image/svg+xml") == "data:image/svg+xml;base64,PHN2Zy8+"
