"""Seals: every change of a sealed file is noticed, a file of another run is told, an older debft's file is read as it is."""

import hashlib
import random

import pytest

from debft.config.recipe import Recipe
from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.runs.seal import BrokenSealError, check_lines, check_seal, number_of_run, sealed, sealed_lines

LINES = b"task: mnli\ntrain:\n  seed: 7\n"


def begun(path):
    run = RunDirectory(path)
    run.create(Recipe(task="rte"))
    run.write_split({"path": None, "held_out": None})
    return run


def test_split_holds_a_path_that_is_no_text(tmp_path):
    run = begun(tmp_path)
    run.write_split({"path": "/r\udcff/x.csv", "held_out": None})
    assert run.split()["path"] == "/r\udcff/x.csv"


def test_every_flipped_bit_of_sealed_lines_is_noticed():
    """In the first line as well: the number of the run, the digest, and the words around them."""
    content = sealed_lines(LINES, None)
    check_lines(content)
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BrokenSealError):
            check_lines(bytes(flipped))


def test_every_cut_of_sealed_lines_is_noticed():
    content = sealed_lines(LINES, None)
    for length in range(len(content)):
        with pytest.raises(BrokenSealError):
            check_lines(content[:length])


def test_lines_of_an_older_debft_are_taken_as_they_are():
    check_lines(LINES)
    assert number_of_run(LINES) is None


def test_every_value_of_a_sealed_object_counts():
    content = {"path": "x", "held_out": {"ids": [1, 2.5, "é"]}, "more": None}
    check_seal(sealed(content))
    for changed in ({"path": "y"}, {"more": 0}, {"added": None}, {"held_out": {"ids": [1, 2.5, "e"]}}, {"sha256": None}):
        with pytest.raises(BrokenSealError):
            check_seal(sealed(content) | changed)


def test_seal_is_the_digest_of_the_json_with_sorted_keys_and_no_spaces():
    """Written out here: files of every version carry it."""
    content = {"b": [1, "é"], "a": {"y": None, "x": 2.5}, 3: (4,)}
    digest = hashlib.sha256(rb'{"3":[4],"a":{"x":2.5,"y":null},"b":[1,"\u00e9"]}').hexdigest()
    assert list(sealed(content).items())[-1] == ("sha256", digest)


def test_first_line_is_the_digest_of_the_number_and_the_lines_below():
    number = "0123456789abcdef"
    digest = hashlib.sha256(number.encode() + LINES).hexdigest()
    expected = f"# run {number}, sha256 of that and the lines below {digest}\n".encode() + LINES
    assert (sealed_lines(LINES, number), number_of_run(expected)) == (expected, number)


def test_broken_seal_tells_both_digests():
    changed = sealed({"path": "x"}) | {"path": "y"}
    expected, got = (hashlib.sha256(b'{"path":"%b"}' % path).hexdigest()[:12] for path in (b"x", b"y"))
    with pytest.raises(BrokenSealError) as raised:
        check_seal(changed)
    assert str(raised.value) == f"expected content of sha256 {expected}..., got {got}..."


def test_seal_that_is_gone_is_told_as_none():
    with pytest.raises(BrokenSealError, match=r"^expected content of sha256 none, got [0-9a-f]{12}\.\.\.$"):
        check_seal({"path": "x"})


def test_broken_lines_tell_both_digests():
    number = "0123456789abcdef"
    content = sealed_lines(LINES, number)
    expected, got = (hashlib.sha256(number.encode() + lines).hexdigest()[:12] for lines in (LINES, LINES + b"x"))
    with pytest.raises(BrokenSealError) as raised:
        check_lines(content + b"x")
    assert str(raised.value) == f"expected lines of sha256 {expected}..., got {got}..."


def test_first_line_that_is_damaged_is_told_as_such():
    with pytest.raises(BrokenSealError) as raised:
        check_lines(b"# rum 1\n" + LINES)
    assert str(raised.value) == "expected the number of the run and a sha256 in the first line, got something else"


def test_run_has_a_number_of_its_own_which_it_keeps(tmp_path):
    one, other = begun(tmp_path / "one"), begun(tmp_path / "other")
    number = one.number()
    one.create(Recipe(task="rte", note="changed"))
    assert one.number() == number != other.number()


def test_recipe_that_was_changed_by_hand_is_refused_with_the_way_on(tmp_path):
    run = begun(tmp_path / "run")
    path = run.path / "recipe.yaml"
    path.write_text(path.read_text().replace("seed: 42", "seed: 43"))
    with pytest.raises(
        InputError, match=r"recipe\.yaml: expected the recipe that the run began with, but it was changed .*--overwrite"
    ):
        run.recipe()


@pytest.mark.parametrize("name", ["recipe.yaml", "split.json"])
def test_file_of_another_run_is_told_before_there_is_a_checkpoint(tmp_path, name):
    """Both runs have the same recipe and rows, and each file is whole."""
    run, other = begun(tmp_path / "run"), begun(tmp_path / "other")
    (run.path / name).write_bytes((other.path / name).read_bytes())
    with pytest.raises(
        InputError, match=r"split\.json: expected the split of the run that recipe\.yaml began, got .* of another run"
    ):
        run.split()


def test_flipped_bits_of_a_split_are_noticed(tmp_path):
    """Also in the names of its keys. Bits that change the layout alone are none of those drawn here."""
    run, rng = begun(tmp_path / "run"), random.Random(0)
    path = run.path / "split.json"
    content = path.read_bytes()
    for _ in range(200):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content) - 1)] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r"split\.json: expected the split"):
            run.split()
