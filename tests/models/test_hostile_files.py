"""Files of a model that ask for more than to be read: each is one line, and nothing of it is done."""

import json
import math
import zipfile

import pytest

from debft.errors import InputError
from debft.models.json_files import read_config, read_json
from debft.models.tokens.foreign import check_no_own_code
from debft.models.weights import explain_no_weights, stored_tensors, weight_files

BERT = {"model_type": "bert"}


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "."])
def test_index_of_weights_names_files_beside_it_alone(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "x.safetensors", "b": name}}))
    with pytest.raises(InputError, match=r"weight_map: expected names of files beside it, got"):
        weight_files(tmp_path)


def test_compressed_archive_of_weights_is_refused_before_it_is_unpacked(tmp_path):
    """8 MB of zeros stand for the terabytes that a real one may hold."""
    file = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**23))
    with pytest.raises(InputError, match=r"expected an archive as torch saves it, got one with archive/data\.pkl compressed"):
        stored_tensors(file)


@pytest.mark.parametrize("text", ["[" * 10**5, "1" * 10**5, "\ud800", '["\\ud800"]', '{"\\uDC00": 1}', "{", ""])
def test_json_that_python_chokes_on_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"config\.json: expected JSON, got"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("own", ["evil.Model", ["evil.Model", None], {"AutoTokenizer": [None, "evil.Model"]}])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_own_code_is_refused_in_whatever_form_it_is_named(tmp_path, own, name):
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    (tmp_path / name).write_text(json.dumps(BERT | {"auto_map": own}))
    with pytest.raises(InputError, match=r"auto_map: the tokenizer is code of its own \(evil\.Model\), which is not run"):
        check_no_own_code(tmp_path)


def test_names_of_outputs_that_are_no_words_are_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(BERT | {"id2label": {"0": [1], "1": [1]}}))
    with pytest.raises(InputError, match="id2label: expected a name of its own for each output"):
        read_config(tmp_path)


def test_whole_pair_of_surrogates_is_read(tmp_path):
    (tmp_path / "config.json").write_text(r'["\ud83d\ude00", "\\ud800"]')
    assert read_json(tmp_path / "config.json") == ["\U0001f600", r"\ud800"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({"num_labels": count}, "num_labels: expected a whole number")
            for count in ("abc", 1.5, [1], {"a": 1}, math.nan, 10**13)
        ],
        *[({"pad_token_id": one}, "pad_token_id: expected the id of a token or null") for one in ("x", [1], 1.5)],
        *[({"id2label": {key: "x"}}, "id2label: expected label names by number") for key in ("²", "٠", "1" * 5000)],
    ],
    ids=lambda value: str(value)[:30],
)
def test_number_that_is_none_is_one_line(tmp_path, changes, message):
    (tmp_path / "config.json").write_text(json.dumps(BERT | changes))
    with pytest.raises(InputError, match=message):
        read_config(tmp_path)


@pytest.mark.parametrize("content", ["[1]", "null"])
def test_adapter_that_is_no_object_is_one_line(tmp_path, content):
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(InputError, match=r"adapter_config\.json: expected a JSON object, got"):
        explain_no_weights(tmp_path)


def test_token_in_a_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(BERT | {"use_auth_token": "hf_abcdefghijklmnopqrst"}))
    with pytest.raises(InputError, match=r"config\.json: holds a token or a password") as error:
        read_config(tmp_path)
    assert "abcdef" not in str(error.value)
