"""Data files that ask for more than they hold."""

import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from debft.data.sources import files
from debft.data.sources.decoding import decoded
from debft.data.sources.files import read_table
from debft.errors import InputError


def test_parquet_with_more_rows_than_memory_is_refused_by_its_metadata(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BYTES_OF_A_ROW", 2**40)
    same = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(100, np.int8)), pyarrow.array(["the fox sleeps"]))
    pyarrow.parquet.write_table(pyarrow.table({"text": same, "label": same}), tmp_path / "bomb.parquet")
    with pytest.raises(InputError, match=r"expected rows that fit into this machine's memory, .* got 100 rows, which take"):
        read_table(tmp_path / "bomb.parquet")


TWICE = pyarrow.StructArray.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"])
NOT_OF_PYTHON = {
    "timestamp": pyarrow.array([2**62], pyarrow.timestamp("us")),
    "date": pyarrow.array([2**30], pyarrow.date32()),
    "duration": pyarrow.array([2**62], pyarrow.duration("s")),
    "field twice": TWICE,
}


@pytest.mark.parametrize("name", NOT_OF_PYTHON)
def test_column_of_values_that_python_lacks_is_named(tmp_path, name):
    table = pyarrow.table({"text": ["the fox"], "seen": NOT_OF_PYTHON[name]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(
        InputError, match=r"rows\.parquet: seen: expected values that Python can hold, got .*; write the column as text"
    ):
        read_table(tmp_path / "rows.parquet")


@pytest.mark.parametrize("encoding", ["undefined", "rot13", "zip", "punycode", "no-such", "a\0b"])
def test_codec_that_is_no_encoding_is_one_line(tmp_path, encoding):
    with pytest.raises(InputError, match="--encoding: expected an encoding such as cp1252 or latin-1, got"):
        decoded(tmp_path / "rows.csv", b"a,b\n", encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "UTF_32"])
def test_mark_may_be_lacking_where_the_encoding_is_given(tmp_path, encoding):
    text = "text,label\na\u0a0a \U0001f600,b\n"
    marked, order = text.encode(encoding), "le" if sys.byteorder == "little" else "be"
    assert decoded(tmp_path / "rows.csv", marked, encoding) == text
    assert decoded(tmp_path / "rows.csv", text.encode(f"{encoding}-{order}"), encoding) == text


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_row_of_ten_megabytes_is_a_row(tmp_path, name):
    long = "a long line " * 850_000
    texts = {
        "rows.csv": f"text,label\n{long},a\n",
        "rows.tsv": f"text\tlabel\n{long}\ta\n",
        "rows.jsonl": f'{{"text": "{long}", "label": "a"}}\n',
    }
    (tmp_path / name).write_text(texts[name])
    assert read_table(tmp_path / name).columns == {"text": [long], "label": ["a"]}
