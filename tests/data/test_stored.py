"""Rows and arrays that take too much memory lie on disk: the same rows, in the same order, and nothing is left behind."""

import csv
import errno
import json
import os
import random
import tracemalloc
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest
import safetensors.numpy
from conftest import random_texts, table_of
from hypothesis import given
from hypothesis import strategies as st

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data import arrays, encoding, giveaways, nameless_files, stored
from debft.data.encoding import encode
from debft.data.load import encode_split
from debft.data.own_rows import own_rows, record_of
from debft.data.row_warnings import row_warnings
from debft.data.rows import check_rows
from debft.data.sources import decoding, delimited, files, json_rows
from debft.data.sources.files import read_table
from debft.data.stored import GrowingTable, StoredCells, StoredRows, characters_of
from debft.errors import InputError, MachineError
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer

LABELS = ("bad", "fair", "good")


def keep_on_disk(monkeypatch):
    """Every table and array goes to the disk, in small blocks."""
    monkeypatch.setattr(stored, "MOST_IN_MEMORY", -1)
    monkeypatch.setattr(stored, "CELLS_OF_A_BLOCK", 7)
    monkeypatch.setattr(arrays, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(arrays, "AT_ONCE", 50)
    monkeypatch.setattr(decoding, "BYTES_AT_ONCE", 1000)
    monkeypatch.setattr("debft.data.examples.HASHED", 10)
    monkeypatch.setattr(giveaways, "AT_ONCE", 10)
    for module in (delimited, json_rows):
        monkeypatch.setattr(module, "BLOCK", 5)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def on_disk(monkeypatch, cache):
    keep_on_disk(monkeypatch)
    return cache


@pytest.fixture(scope="module")
def tokenizer(demo_model):
    return build_tokenizer(ModelFiles(name="demo", path=demo_model))


def cells(rows, seed=0):
    """Rows of a text, some with what CSV quotes, and a number."""
    rng = random.Random(seed)
    return [("".join(rng.choices('ab é,"\n\u2028', k=rng.randint(1, 12))) + "x", str(rng.randint(0, 5))) for _ in range(rows)]


def test_csv_on_disk_has_the_cells_that_the_csv_module_reads(tmp_path, on_disk):
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("text", "n"), *cells(100)])
    table = read_table(path)
    with path.open(newline="\n", encoding="utf-8") as file:
        expected = list(csv.reader(file))[1:]
    assert isinstance(table.columns["text"], StoredCells)
    assert list(zip(*table.columns.values(), strict=True)) == [tuple(row) for row in expected]
    for rows in (random.Random(1).choices(range(100), k=40), sorted(random.Random(2).sample(range(100), 40))):
        assert list(table.rows(rows).columns["text"]) == [expected[row][0] for row in rows]
    assert [table.columns["text"][3:50][row] for row in (0, -1, 20)] == [expected[row][0] for row in (3, 49, 23)]


def test_parquet_on_disk_has_the_cells_that_pandas_reads(tmp_path, on_disk):
    frame = pandas.DataFrame(
        {"text": [text for text, _ in cells(50)], "n": range(50), "when": pandas.date_range("2020-01-01", periods=50)}
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    columns = read_table(tmp_path / "rows.parquet").columns
    assert {name: list(column) for name, column in columns.items()} == {name: list(frame[name]) for name in frame}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_few_rows_are_together_in_memory_where_they_are_long(suffix, tmp_path, on_disk, monkeypatch):
    """A block is not so many rows, however long: neither while a file is read, nor on disk."""
    for module in (delimited, json_rows, files):
        monkeypatch.setattr(module, "BLOCK", 8192)
    monkeypatch.setattr(files, "BYTES_AT_ONCE", 1000)
    monkeypatch.setattr(stored, "MOST_IN_MEMORY", 3000)
    monkeypatch.setattr(stored, "BYTES_OF_A_BLOCK", 1000)
    frame = pandas.DataFrame({"text": [f"{row} {'long ' * 100}" for row in range(20)], "label": ["a", "b"] * 10})
    path = tmp_path / f"rows{suffix}"
    write = {".csv": partial(frame.to_csv, index=False), ".parquet": frame.to_parquet}
    write.get(suffix, partial(frame.to_json, orient="records", lines=True))(path)
    added, add = [], GrowingTable.add
    monkeypatch.setattr(
        GrowingTable, "add", lambda table, columns, rows, *more: (added.append(rows), add(table, columns, rows, *more))
    )
    texts = read_table(path).columns["text"]
    assert max(added) <= 3 and texts.blocks.num_cells <= 3
    assert list(texts) == [texts[row] for row in range(20)] == list(frame["text"])


def test_what_lists_and_objects_hold_counts_for_the_memory():
    cells = ["abc", 5, None, ["abc", 1, [2, 3]], {"key": {"key": "abc"}}]
    assert characters_of([cells]) == 3 + (3 + 3 * 64) + 2 * 64 + 64 + (3 + 64)


def test_jsonl_on_disk_has_the_objects_of_the_lines(tmp_path, on_disk):
    rng = random.Random(3)
    values = (None, True, 1.5, 10**30, "é", "\ud800", [1, "a"], {"b": {"c": 1}})
    rows = [{"text": f"t {i}"} | {key: rng.choice(values) for key in rng.sample("abcd"[: 1 + i // 17], 1)} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = read_table(tmp_path / "rows.jsonl")
    read = [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)]
    assert [{key: value for key, value in row.items() if value is not json_rows.LACKING} for row in read] == rows


PARTS = st.sampled_from(["a", "é", "\u20ac".encode(), b"\xff", "\ufeff", "\r\n", "\n", "\r", "\n\ufeff", "\u2028"])


@given(parts=st.lists(PARTS, max_size=12), at_once=st.integers(1, 9))
def test_text_in_blocks_is_that_of_the_whole_file(parts, at_once):
    raw = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts) + b"\n"
    expected = raw.decode("utf-8", "surrogateescape").lstrip("\ufeff").replace("\r\n", "\n").replace("\n\ufeff", "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BYTES_AT_ONCE", at_once)
        blocks = list(decoding.decoded_blocks(Path("t"), BytesIO(raw)))
    assert "".join(blocks) == expected and all(block.endswith("\n") for block in blocks[:-1])


def rows_of_classes(rng):
    texts = [" ".join(rng.choices(["parcel", "Kettle", "lamp", "ärger"], k=3)) + rng.choice(["", " ", "."]) for _ in range(200)]
    return [
        {"id": f"r{i}", "text": text, "label": (label := rng.choice(LABELS)), "by": label[0] * 2, "day": i % 7}
        for i, text in enumerate(texts)
    ]


def rows_of_pairs(rng):
    texts = [f"thing {i // 2}" for i in range(150)]
    return [{"premise": text, "hypothesis": rng.choice(["it is", "not"]), "label": rng.choice(LABELS)} for text in texts] + [
        {"premise": None}
    ]


def rows_of_scores(rng):
    return [{"doc": {"text": f"text {i % 120}"}, "score": round(rng.random(), 3), "twice": i} for i in range(160)]


def rows_of_sets(rng):
    return [
        {"text": f"text {i} price", "labels": rng.sample(["price", "service", "colour"], rng.randint(0, 3))} for i in range(160)
    ]


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (rows_of_classes, {"own.test": 0.1}),
        (rows_of_classes, {"own.folds": 3, "own.fold": 2, "train.max_train_samples": 50}),
        (rows_of_pairs, {"train.skip_bad_rows": True, "text.truncation": "random_ends"}),
        (rows_of_scores, {"own.text_columns": "doc.text", "own.label_column": "score", "text.long_texts": "windows"}),
        (rows_of_sets, {}),
    ],
)
def test_run_on_rows_on_disk_has_what_it_has_of_rows_in_memory(make, changes, tmp_path, cache, monkeypatch, tokenizer):
    rows = make(random.Random(5))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_recipe(
        recipe_path("demo"), {"task": "text", "data": str(tmp_path / "rows.jsonl"), "text.max_seq_length": 9} | changes
    )
    in_memory = known_of(recipe, tokenizer, cached=False)
    keep_on_disk(monkeypatch)
    assert isinstance(own_rows(recipe).examples["train"].texts, StoredRows)
    for _ in range(2):  # the second time the arrays are in the cache
        assert known_of(recipe, tokenizer, cached=True) == in_memory


def known_of(recipe, tokenizer, cached):
    """What a run knows of its rows, with the token ids and labels that it trains on."""
    rows = own_rows(recipe)
    known = [rows.task, record_of(rows), rows.giveaways, row_warnings(rows.task, rows.examples, {}, giveaways=rows.giveaways)]
    for name, of_split in rows.examples.items():
        split = encode_split(rows.task, of_split, tokenizer, recipe, what=name, cached=cached, show=False)
        known += [of_split.digest, list(of_split.ids), list(of_split.lines), list(of_split.texts), of_split.empty_texts]
        known += [str(of_split.skipped), of_split.notes, of_split.unused, [of_split.place(row) for row in (0, -1)]]
        known += [[part.tolist() for part in split.example(index)] for index in range(len(split))]
        known += [split.labels_S.tolist(), split.largest_id(), split.num_cut, split.remarks()]
    return known


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_memory_does_not_grow_with_the_texts(suffix, tmp_path, on_disk):
    """From the file to the splits, 4 times the rows take less than a tenth more than their texts: a few numbers for each row."""
    peaks = {}
    for count in (100, 400):
        rows = [(f"{row} {'a long text ' * 300}", LABELS[row % 3]) for row in range(count)]
        lines = ["text,label", *map(",".join, rows)]
        if suffix == ".jsonl":
            lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        path = tmp_path / f"{count}{suffix}"
        path.write_text("".join(f"{line}\n" for line in lines))
        del rows, lines
        tracemalloc.start()
        own = own_rows(load_recipe(recipe_path("demo"), {"task": "text", "data": str(path)}))
        row_warnings(own.task, own.examples, {})
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[400] - peaks[100] < 300 * 3600 / 10


def test_nothing_of_rows_and_arrays_lies_in_the_cache(mnli, tokenizer, on_disk, tmp_path, monkeypatch):
    """What is on disk has no name: whatever ends the process, nothing is left to remove, and no later run can trust it."""
    (tmp_path / "rows.tsv").write_text("premise\thypothesis\tlabel\n" + "a b\tc\tneutral\nd\te f\tentailment\n" * 20)
    examples = check_rows(read_table(tmp_path / "rows.tsv"), mnli)
    assert isinstance(examples.texts, StoredRows) and not list(on_disk.iterdir())
    monkeypatch.setattr(encoding, "CHUNK", 9)
    monkeypatch.setattr(encoding, "cut_to", interrupted_at(3, encoding.cut_to))
    with pytest.raises(KeyboardInterrupt):
        run(examples, tokenizer)
    assert [path.suffix for path in on_disk.rglob("*") if path.is_file()] == [".lock"]
    assert run(examples, tokenizer).ids_T.tolist() == run(examples, tokenizer, cached=False).ids_T.tolist()


def interrupted_at(number, function):
    """A function whose call of this number Ctrl-C ends."""
    calls = []

    def called(*given):
        calls.append(given)
        if len(calls) == number:
            raise KeyboardInterrupt
        return function(*given)

    return called


def run(examples, tokenizer, cached=True):
    return encode(examples, tokenizer, max_seq_length=8, truncation="longest_first", seed=0, what="rows", cached=cached, show=False)


def test_mapped_file_of_the_cache_is_what_safetensors_reads(mnli, tokenizer, on_disk, capsys):
    examples = check_rows(table_of(premise=random_texts(60), hypothesis=random_texts(60, seed=1), label=[0, 1] * 30), mnli)
    computed = run(examples, tokenizer)
    (path,) = (on_disk / "encoded").glob("*.safetensors")
    expected = safetensors.numpy.load_file(path)
    for split in (computed, run(examples, tokenizer)):
        assert not split.ids_T.flags.owndata and not split.ids_T.flags.writeable
        for array, name in ((split.ids_T, "ids"), (split.types_T, "types"), (split.ends_S, "ends")):
            assert array.dtype == expected[name].dtype and array.tolist() == expected[name].tolist()
    del computed, split, array
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.unlink()  # what is mapped must not change
    path.write_bytes(content)
    assert run(examples, tokenizer).ids_T.tolist() == expected["ids"].tolist()
    assert "is damaged; encoding again" in capsys.readouterr().err


def test_disk_without_room_for_the_rows_is_one_line(tmp_path, on_disk, monkeypatch):
    (tmp_path / "rows.tsv").write_text("text\tlabel\na\tx\n")
    monkeypatch.setattr(nameless_files.shutil, "disk_usage", lambda _: SimpleNamespace(total=2**40, free=2**20))
    with pytest.raises(
        MachineError, match=r"rows\.tsv: expected 256 MiB of free disk for what is not kept in memory, .* set DEBFT_CACHE"
    ):
        read_table(tmp_path / "rows.tsv")


def test_what_is_large_stays_in_memory_where_the_cache_cannot_be_written(mnli, tokenizer, tmp_path, on_disk, monkeypatch, capsys):
    monkeypatch.setattr(nameless_files.tempfile, "TemporaryFile", refused)
    (tmp_path / "rows.tsv").write_text("premise\thypothesis\tlabel\n" + "a b\tc\tneutral\nd\te f\tentailment\n" * 20)
    examples = check_rows(read_table(tmp_path / "rows.tsv"), mnli)
    assert examples.texts == [("a b", "c"), ("d", "e f")] * 20 and run(examples, tokenizer, cached=False).ids_T.flags.owndata
    lines = [line for line in capsys.readouterr().err.splitlines() if "cannot be written: Read-only file system; kept in" in line]
    assert [line.removeprefix(f"{tmp_path}/").split(": ")[0] for line in lines] == ["rows.tsv", "encoded texts"]


def refused(dir):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_ids_on_disk_that_come_twice_are_named_with_both_lines(tmp_path, on_disk, mnli):
    rows = [(f"{row % 30}", "a", "b", "neutral") for row in range(31)]
    (tmp_path / "rows.tsv").write_text("".join("\t".join(row) + "\n" for row in [("id", "premise", "hypothesis", "label"), *rows]))
    with pytest.raises(InputError, match=r"rows\.tsv:32: id: expected each id once, got '0' again, first in line 2"):
        check_rows(read_table(tmp_path / "rows.tsv"), mnli)
