"""Every encoder of the tables: its tokens, its templates, and what the installed transformers would make of them."""

import pytest
import torch
from architectures import ARCHITECTURES
from transformers import AutoTokenizer

from debft.data.checks import check_texts
from debft.data.encoding import encode
from debft.data.files import Table, read_table
from debft.errors import InputError
from debft.models import ModelFiles, build_tokenizer, token_file

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
TEXTS = [
    "the white fox slept in the garden .", "  the  fox  slept ", "Café naïve façade", "他说，妈妈，我回来了。", "a 👍🏽 b", "e\u0301 ＡＢ ﬁ", "",
    "In 1,990 there 3, x 1990, 20, ``q'' ", "हिन्दी में", "x<sep>y </s> <s> <pad> <mask> [SEP] [CLS] <cls> <eod>", "The CAT", "£5 – (a)",
    "\t\n x\u00a0y\u200bz\u3000", "Он дома", "\x1cq\x85r",
]  # fmt: skip
PAIRS = [("the fox slept .", "a cat"), (TEXTS[0] * 3, "the Fox"), ("É", TEXTS[0]), ("", "x"), ("the dog worked in the garden", "")]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small are slower with two, and far slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=ARCHITECTURES, ids=lambda a: a.name)
def architecture(request):
    return request.param


@pytest.fixture
def files(architecture, tmp_path):
    return ModelFiles(name=architecture.name, path=architecture.write(tmp_path / architecture.name))


def sources(architecture):
    """Each file that the tokens can come from, with the others gone."""
    names = architecture.files()
    vocabulary = next(name for name in names if name.endswith((".model", ".txt", "vocab.json")))
    return [vocabulary, *(["tokenizer.json"] if "tokenizer.json" in names and not vocabulary.endswith(".model") else [])]


@pytest.mark.parametrize(
    ("architecture", "source"), [pytest.param(a, s, id=f"{a.name}-{s}") for a in ARCHITECTURES for s in sources(a)]
)
def test_ids_equal_those_of_the_trained_vocabulary(architecture, source, tmp_path):
    path = architecture.write(tmp_path / "m")
    if source != "tokenizer.json":
        (path / "tokenizer.json").unlink(missing_ok=True)
    files = ModelFiles(name="m", path=path)
    assert token_file(files) == source
    tokenizer = build_tokenizer(files)
    assert {name: getattr(tokenizer, f"{name}_token_id") for name in architecture.special} == architecture.special
    for text in TEXTS:
        assert tokenizer.encode(text, add_special_tokens=False) == architecture.ids(text), text


def test_ids_on_real_text(architecture, files, shared):
    texts = [text for path in sorted((shared / "xnli").glob("*.tsv")) for text in read_table(path).columns["premise"][:40]]
    tokenizer = build_tokenizer(files)
    wrong = [text for text in texts if tokenizer.encode(text, add_special_tokens=False) != architecture.ids(text)]
    assert wrong == []


def encoded(files, mnli, pairs=PAIRS, length=64):
    columns = {"premise": [one for one, _ in pairs], "hypothesis": [other for _, other in pairs]}
    examples = check_texts(Table(columns=columns, path="rows", lines=range(len(pairs))), mnli)
    return encode(
        examples,
        build_tokenizer(files),
        max_seq_length=length,
        truncation="longest_first",
        seed=0,
        what="x",
        cached=False,
        show=False,
    )


@pytest.mark.parametrize("length", [400, 24])
def test_features_of_a_pair_equal_the_template_and_transformers(architecture, files, mnli, length):
    split, tokenizer, whole = encoded(files, mnli, length=length), build_tokenizer(files), []
    for i, (premise, hypothesis) in enumerate(PAIRS):
        ids, types = (array.tolist() for array in split.example(i))
        plain = tokenizer([premise], [hypothesis], truncation=True, max_length=length)  # without a list it drops an empty text
        assert ids == plain["input_ids"][0]
        assert types == (plain["token_type_ids"][0] if architecture.takes_types else [0] * len(ids))
        whole.append(architecture.features(architecture.ids(premise), architecture.ids(hypothesis)))
        assert (ids, types) == whole[-1] if len(whole[-1][0]) <= length else len(ids) == length
    assert split.truncated == sum(len(ids) > length for ids, _ in whole)
    assert bool(split.truncated) == (length == 24)


def test_names_of_the_inputs_are_those_that_the_model_was_trained_with(architecture, files):
    assert ("token_type_ids" in build_tokenizer(files).model_input_names) == architecture.takes_types


TRAPS = {
    "deberta": lambda plain, _: plain("a", "b")["input_ids"].count(2) == 3,  # two [SEP] between the texts
    "xlnet": lambda plain, _: "token_type_ids" not in plain("a", "b"),
    "deberta-v2": lambda plain, ids: plain.encode(TEXTS[3], add_special_tokens=False) != ids(TEXTS[3]),
}


@pytest.mark.parametrize("name", TRAPS)
def test_plain_transformers_would_spring_the_trap(name, tmp_path):
    """If this fails, the installed transformers no longer damages the tokens: simplify."""
    architecture = BY_NAME[name]
    assert TRAPS[name](AutoTokenizer.from_pretrained(architecture.write(tmp_path / "m")), architecture.ids)


def test_lowercasing_a_cased_vocabulary_is_refused(tmp_path):
    path = BY_NAME["bert"].write(tmp_path / "m")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).unlink()
    with pytest.raises(
        InputError, match=r'vocab\.txt: has the piece \w+, so tokenizer_config\.json beside it must say "do_lower_case"'
    ):
        build_tokenizer(ModelFiles(name="m", path=path))


BROKEN = {
    "merges": ("roberta", "merges.txt", "#version: 0.2\nq zz\n", r"merges\.txt: expected two pieces of vocab\.json in each line, got 'q zz'"),
    "no special": ("deberta", "vocab.json", '{"a": 0}', r"vocab\.json: expected a vocabulary with \[PAD\], found none"),
    "no JSON": ("deberta", "vocab.json", "{", r"vocab\.json: expected a byte-level BPE vocabulary beside merges\.txt"),
    "settings": ("deberta", "tokenizer_config.json", "{", r"tokenizer_config\.json: expected JSON"),
    "no model": ("xlnet", "spiece.model", "\xff", r"spiece\.model: expected a SentencePiece model.*copy spiece\.model again"),
    "other pieces": ("xlm-roberta", "sentencepiece.bpe.model", BY_NAME["deberta-v3"].files()["spm.model"],
                     r"expected a SentencePiece unigram model with <s>, </s>, <unk>, got no piece <s>"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_vocabulary_is_one_clear_line(name, tmp_path):
    model, file, content, message = BROKEN[name]
    path = BY_NAME[model].write(tmp_path / "m")
    (path / "tokenizer.json").unlink(missing_ok=True)
    (path / file).write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
    if name == "no special":
        (path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(InputError, match=message):
        build_tokenizer(ModelFiles(name="m", path=path))


def test_directory_without_a_file_for_its_type_of_model_is_refused(tmp_path):
    path = BY_NAME["xlnet"].write(tmp_path / "m")
    for name in ("spiece.model", "tokenizer.json"):
        (path / name).unlink()
    (path / "vocab.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"expected a tokenizer of xlnet \(spiece\.model or tokenizer\.json\) in the directory"):
        build_tokenizer(ModelFiles(name="m", path=path))
