"""Tokens that a user added: one id each wherever the files name them, and the saved tokenizer knows them in plain transformers."""

import json
from pathlib import Path

import pytest
from architectures import ARCHITECTURES
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer

from debft.errors import InputError
from debft.models.files import ModelFiles
from debft.models.tokens import foreign as foreign_tokenizers
from debft.models.tokens.tokenizer import build_tokenizer
from debft.models.tokens.tokenizer_json import save_tokenizer

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}


@pytest.fixture(autouse=True)
def said_again():
    """Lines that are said once in a run are said in each test."""
    foreign_tokenizers._say_once.cache_clear()


def edit(file: Path, **changes) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | changes))


def entry(content: str, special: bool = False, **flags) -> dict:
    return {
        "content": content,
        "special": special,
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
        "normalized": False,
    } | flags


def free_id(path: Path) -> int:
    """The first id behind the vocabulary of the files, the mask included."""
    return len(build_tokenizer(ModelFiles(name="x", path=path)))


def state(path: Path, form: str, special: bool = False) -> int:
    """Add `<sum>` in one of the forms in which files name added tokens; returns its id."""
    number = free_id(path)
    if form == "added_tokens.json":
        edit(path / form, **{"<sum>": number})
    elif form == "added_tokens_decoder":
        edit(path / "tokenizer_config.json", added_tokens_decoder={str(number): entry("<sum>", special)})
    elif form == "tokenizer.json":
        tokenizer = Tokenizer.from_file(str(path / form))
        tokenizer.add_tokens([AddedToken("<sum>", special=special)])
        tokenizer.save(str(path / form))
    else:
        edit(path / form, additional_special_tokens=["<sum>"])
    return number


FORMS = ["added_tokens.json", "added_tokens_decoder", "special_tokens_map.json", "tokenizer_config.json"]
CASES = [(name, form) for name in ("deberta-v3", "xlm-roberta") for form in FORMS]
CASES += [("bert", form) for form in (*FORMS, "tokenizer.json")] + [
    ("roberta", "tokenizer.json"),
    ("deberta", FORMS[0]),
    ("xlnet", FORMS[1]),
]


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize(("name", "form"), CASES)
def test_added_token_is_one_id_and_leaves_the_others_alone(name, form, special, tmp_path):
    path = BY_NAME[name].write(tmp_path / "m")
    before = build_tokenizer(ModelFiles(name="m", path=path))
    number = state(path, form, special)
    tokenizer = build_tokenizer(ModelFiles(name="m", path=path))
    assert tokenizer.encode("the fox<sum>", add_special_tokens=False) == [
        *before.encode("the fox", add_special_tokens=False),
        number,
    ]
    for text in ("the white fox", "x<sep>y </s> [SEP] <mask> [MASK]"):
        assert tokenizer.encode(text) == before.encode(text)


@pytest.mark.parametrize("name", ["deberta-v3", "bert", "roberta"])
def test_saved_tokenizer_knows_the_added_token_in_plain_transformers(name, tmp_path):
    """transformers 4 has no class TokenizersBackend, which transformers 5 would write."""
    path = BY_NAME[name].write(tmp_path / "m")
    state(path, "special_tokens_map.json", special=True)
    ours = build_tokenizer(ModelFiles(name="m", path=path))
    (tmp_path / "saved").mkdir()
    save_tokenizer(ours, tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((path / "config.json").read_bytes())
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    plain, again = AutoTokenizer.from_pretrained(tmp_path / "saved"), build_tokenizer(ModelFiles(name="m", path=tmp_path / "saved"))
    for texts in (("a <sum> the fox [SEP] </s>",), ("the <sum>", "<sum> fox")):
        for tokenizer in (plain, again):
            assert tokenizer(*texts)["input_ids"] == ours(*texts)["input_ids"]


def test_mask_behind_an_added_token_stays_where_the_files_have_it(tmp_path):
    path = BY_NAME["deberta-v3"].write(tmp_path / "m")
    mask = free_id(path) - 1
    edit(path / "added_tokens.json", **{"<sum>": mask, "[MASK]": mask + 1})
    tokenizer = build_tokenizer(ModelFiles(name="m", path=path))
    assert (tokenizer.convert_tokens_to_ids("<sum>"), tokenizer.mask_token_id) == (mask, mask + 1)


@pytest.mark.parametrize(
    ("flag", "text", "spaces"), [("lstrip", "a  <sum> b", 1), ("rstrip", "a <sum>  b", 1), (None, "a <sum> b", 2)]
)
def test_flags_of_an_added_token_are_kept(flag, text, spaces, tmp_path):
    """Byte-level BPE has tokens for spaces, so that one shows whether the added token takes those beside it along."""
    path = BY_NAME["roberta"].write(tmp_path / "m")
    flags = {flag: True} if flag else {}
    edit(path / "tokenizer_config.json", added_tokens_decoder={str(free_id(path)): entry("<sum>", **flags)})
    tokenizer = build_tokenizer(ModelFiles(name="m", path=path))
    decoded = "".join(tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False)))
    assert decoded.count("Ġ") == spaces


def test_piece_of_the_vocabulary_that_a_user_made_a_marker_is_one_id(tmp_path):
    """`[unused1]` of BERT's vocabulary, which falls apart at its brackets where nobody has added it."""
    path = BY_NAME["bert"].write(tmp_path / "m")
    (path / "tokenizer.json").unlink()
    lines = (path / "vocab.txt").read_text().splitlines()
    lines[7] = "[unused1]"
    (path / "vocab.txt").write_text("\n".join(lines) + "\n")
    edit(path / "special_tokens_map.json", additional_special_tokens=["[unused1]"])
    assert 7 in build_tokenizer(ModelFiles(name="m", path=path)).encode("the [unused1] fox")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"<sum>": 9999}, r"added_tokens\.json: token <sum>: expected id \d+, got 9999: the vocabulary goes on at"),
        ({"the": 9999}, r"added_tokens\.json: token ▁the: expected id \d+, got 9999: the vocabulary has it at"),
        ({"<sum>": 9998}, r"added_tokens\.json: token <sum> has id 9998, but tokenizer_config\.json has <sum> at 9999"),
        ({"<sum>": "a"}, r"added_tokens\.json: <sum>: expected an id, got 'a'"),
    ],
)
def test_added_token_that_cannot_have_its_id_is_refused(changes, message, tmp_path):
    path = BY_NAME["deberta-v3"].write(tmp_path / "m")
    edit(path / "added_tokens.json", **{("▁the" if name == "the" else name): number for name, number in changes.items()})
    if 9998 in changes.values():
        edit(path / "tokenizer_config.json", added_tokens_decoder={"9999": entry("<sum>")})
    with pytest.raises(InputError, match=message):
        build_tokenizer(ModelFiles(name="m", path=path))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (
            "tokenizer_config.json",
            {"tokenizer_class": "BertJapaneseTokenizer"},
            "tokenizer_class: expected BertTokenizer for vocab.txt, got BertJapaneseTokenizer",
        ),
        (
            "config.json",
            {"tokenizer_class": "BertJapaneseTokenizer"},
            "tokenizer_class: expected BertTokenizer for vocab.txt, got BertJapaneseTokenizer",
        ),
        ("special_tokens_map.json", {"cls_token": "<s>"}, "cls_token: expected [CLS] beside vocab.txt, got <s>"),
    ],
)
def test_vocabulary_of_another_kind_of_tokenizer_is_refused(file, changes, message, tmp_path):
    path = BY_NAME["bert"].write(tmp_path / "m")
    (path / "tokenizer.json").unlink()
    edit(path / file, **changes)
    with pytest.raises(InputError) as error:
        build_tokenizer(ModelFiles(name="m", path=path))
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "xlnet"])
def test_file_that_puts_nothing_around_a_text_gets_what_the_type_has(name, tmp_path, capsys):
    architecture = BY_NAME[name]
    path = architecture.write(tmp_path / "m")
    edit(path / "tokenizer.json", post_processor=None)
    for file in architecture.files():
        if file.endswith(".model"):
            (path / file).unlink()
    tokenizer = build_tokenizer(ModelFiles(name="m", path=path))
    one, other = (tokenizer.encode(text, add_special_tokens=False) for text in ("the fox", "a cat"))
    assert tokenizer("the fox", "a cat")["input_ids"] == architecture.features(one, other)[0]
    assert "puts nothing around a text; " in capsys.readouterr().err


def test_template_of_another_form_is_told_and_kept(tmp_path, capsys):
    path = BY_NAME["bert"].write(tmp_path / "m")
    template = {"type": "BertProcessing", "sep": ["[MASK]", 4], "cls": ["[CLS]", 2]}
    edit(path / "tokenizer.json", post_processor=template)
    assert build_tokenizer(ModelFiles(name="m", path=path)).encode("")[-1] == 4
    assert "puts [CLS]:0 [MASK]:0 around a text, a bert has [CLS]:0 $A:0 [SEP]:0" in capsys.readouterr().err.replace("\n", " ")
