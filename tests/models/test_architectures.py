"""Every encoder of the tables: tokens, padding, training, the saved model, and the weights of its published checkpoint."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import transformers
from architectures import ARCHITECTURES, processor, xlnet_spm
from conftest import dotted, write_mnli
from interrupting import interrupted_after
from safetensors.torch import load_file, save_file
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoTokenizer

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.encoding import encode
from debft.data.packing import Collator
from debft.data.rows import check_rows, check_texts
from debft.data.sources import demo
from debft.data.sources.files import read_table
from debft.data.sources.table import DataTable
from debft.data.windows import encode_windows
from debft.errors import InputError
from debft.models.build import HEAD_DROPOUT, build_model
from debft.models.files import ModelFiles
from debft.models.json_files import read_config
from debft.models.positions import longest_input
from debft.models.tokens.tokenizer import build_tokenizer, token_file
from debft.runs.directory import RunDirectory
from debft.scoring import inference, loading
from debft.tasks import TASKS
from debft.training.run import finetune

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
TEXTS = [
    "the white fox slept in the garden .",
    "  the  fox  slept ",
    "Café naïve façade",
    "他说，妈妈，我回来了。",
    "a 👍🏽 b",
    "e\u0301 ＡＢ ﬁ",
    "",
    "In 1,990 there 3, x 1990, 20, ``q'' ",
    "हिन्दी में",
    "x<sep>y </s> <s> <pad> <mask> [SEP] [CLS] <cls> <eod>",
    "The CAT",
    "£5 – (a)",
    "\t\n x\u00a0y\u200bz\u3000",
    "Он дома",
    "\x1cq\x85r",
]
PAIRS = [("the fox slept .", "a cat"), (TEXTS[0] * 3, "the Fox"), ("É", TEXTS[0]), ("", "x"), ("the dog worked in the garden", "")]


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
    assert len(texts) == 40 * 15
    tokenizer = build_tokenizer(files)
    wrong = [text for text in texts if tokenizer.encode(text, add_special_tokens=False) != architecture.ids(text)]
    assert wrong == []


def encoded(files, mnli, pairs=PAIRS, length=64):
    columns = {"premise": [one for one, _ in pairs], "hypothesis": [other for _, other in pairs]}
    examples = check_texts(DataTable(columns=columns, path="rows", lines=range(len(pairs))), mnli)
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


def fresh(files, mnli, **options):
    return build_model(files, mnli, **{"from_scratch": True, "head_dropout": None, "seed": 3, "quiet": True} | options)


def test_padded_batch_gives_the_logits_of_single_examples(files, mnli):
    model, split, tokenizer = fresh(files, mnli).eval(), encoded(files, mnli), build_tokenizer(files)
    names = tuple(tokenizer.model_input_names)
    collate = Collator(
        pad_id=tokenizer.pad_token_id, names=names, device=torch.device("cpu"), left=tokenizer.padding_side == "left"
    )
    with torch.inference_mode():
        batch = {name: tensor for name, tensor in collate(split, np.arange(len(split))).items() if name != "labels"}
        together = model(**batch).logits
        assert torch.equal(model(**batch).logits, together)  # what came before leaves nothing behind
        for i in range(len(split)):
            ids, types = (torch.from_numpy(array.astype(np.int64))[None] for array in split.example(i))
            alone = model(input_ids=ids, **({"token_type_ids": types} if "token_type_ids" in names else {})).logits
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_longest_input_is_what_the_model_can_take(architecture, files, mnli):
    longest = longest_input(read_config(files.path))
    assert longest == (128 if architecture.config["model_type"] in ("roberta", "xlm-roberta", "electra", "bert") else None)
    model = fresh(files, mnli).eval()
    forward = partial(model, attention_mask=torch.ones(1, longest or 600, dtype=torch.long))
    with torch.inference_mode():
        assert forward(input_ids=torch.full((1, longest or 600), 9)).logits.isfinite().all()
        if longest:
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=torch.full((1, longest + 1), 9))


def logits_and_gradients(model, batch):
    model.zero_grad()
    logits = model(**batch).logits
    logits.float().square().sum().backward()
    return logits.detach().float(), {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }


def test_every_encoder_computes_in_bf16(files, mnli):
    """On a GPU `auto` is bf16. Its rounding, 2**-9 of each number, moves logits this small by some hundredths of their size."""
    model = fresh(files, mnli).eval()
    batch = {"input_ids": torch.arange(10, 34).view(2, 12), "attention_mask": torch.ones(2, 12, dtype=torch.int64)}
    batch["attention_mask"][1, 8:] = 0
    plain, gradients = logits_and_gradients(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, rounded_gradients = logits_and_gradients(model, batch)
    assert (rounded - plain).norm() < 0.1 * plain.norm() and not torch.equal(rounded, plain)
    assert rounded_gradients.keys() == gradients.keys()
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in rounded_gradients.values())
    assert torch.equal(logits_and_gradients(model, batch)[0], plain)


@pytest.mark.parametrize("kind", HEAD_DROPOUT)
def test_head_dropout_is_set_in_the_module_before_the_classifier(kind, tmp_path, mnli):
    architecture = next(a for a in ARCHITECTURES if a.config["model_type"] == kind)
    files = ModelFiles(name=kind, path=architecture.write(tmp_path / kind))
    where = {
        "roberta": "classifier.dropout",
        "xlm-roberta": "classifier.dropout",
        "electra": "classifier.dropout",
        "xlnet": "sequence_summary.last_dropout",
    }.get(kind, "dropout")
    assert fresh(files, mnli, head_dropout=0.37).get_submodule(where).p == 0.37
    assert fresh(files, mnli).get_submodule(where).p == 0.1


def published(architecture, path):
    """The model as its authors saved it: with the head of the pre-training, and without one for the task."""
    config = transformers.AutoConfig.from_pretrained(path)
    torch.manual_seed(5)
    model = getattr(transformers, architecture.base)(config)
    model.save_pretrained(path)
    (path / "config.json").write_text(json.dumps(architecture.config | {"architectures": [architecture.base]}))
    return model


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_published_checkpoint_gives_every_weight_of_the_encoder(architecture, files, mnli, capsys, form):
    """The other form is pytorch_model.bin, with the names that BERT's authors gave to LayerNorm's weights."""
    model = published(architecture, files.path)
    if form == "bin":
        stored = load_file(files.path / "model.safetensors")
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        stored = {next((k.replace(a, b) for a, b in old.items() if k.endswith(a)), k): v for k, v in stored.items()}
        torch.save(stored, files.path / "pytorch_model.bin")
        (files.path / "model.safetensors").unlink()
    capsys.readouterr()
    loaded = fresh(files, mnli, from_scratch=False, quiet=False)
    prefix = loaded.base_model_prefix
    expected = getattr(model, prefix).state_dict()
    encoder = {name: tensor for name, tensor in getattr(loaded, prefix).state_dict().items() if "pooler" not in name}
    assert encoder
    for name, tensor in encoder.items():
        assert torch.equal(tensor, expected[name]), name
    assert "head new, random (" in capsys.readouterr().err.replace("\n", " ")


def test_lost_weight_of_the_encoder_is_an_error(architecture, files, mnli):
    published(architecture, files.path)
    path = files.path / "model.safetensors"
    stored = load_file(path)
    lost = next(name for name in stored if ".layer.1." in name and "weight" in name)
    save_file({name: tensor for name, tensor in stored.items() if name != lost}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="expected the weights of the encoder, 1 are missing"):
        fresh(files, mnli, from_scratch=False)


def recipe_for(architecture, root, **changes):
    settings = {
        "task": "mnli",
        "data": str(write_mnli(root / "data", train=16, dev=12)),
        "model": str(architecture.write(root / "model")),
        "train.train_batch_size": 16,
        "train.num_train_epochs": 30,
        "train.learning_rate": 5e-3,
        "text.max_seq_length": 64,
        "runtime.save_steps": None,
        "runtime.micro_batch_tokens": 2048,
    }
    return load_recipe(recipe_path("demo"), settings | changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each architecture, made when it is asked for."""
    finished = {}

    def run_of(architecture):
        if architecture.name not in finished:
            root = tmp_path_factory.mktemp(architecture.name)
            finished[architecture.name] = finetune(recipe_for(architecture, root), root / "run"), RunDirectory(root / "run")
        return finished[architecture.name]

    return run_of


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_lowers_the_loss_and_gives_scores(architecture, runs):
    result, run = runs(architecture)
    losses = [log["loss"] for log in lines(run.path / "steps.jsonl")]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert set(result.scores) == {"validation_matched/accuracy", "validation_mismatched/accuracy"}


def test_saved_model_is_the_same_in_plain_transformers(architecture, runs, mnli):
    _, run = runs(architecture)
    model = AutoModelForSequenceClassification.from_pretrained(run.model).eval()
    tokenizer, ours = AutoTokenizer.from_pretrained(run.model), build_tokenizer(ModelFiles(name="x", path=run.model))
    for text in TEXTS:
        assert tokenizer.encode(text, add_special_tokens=False) == architecture.ids(text), text
        assert ours.encode(text, add_special_tokens=False) == architecture.ids(text), text
    assert tokenizer.model_input_names == ours.model_input_names
    assert (tokenizer.padding_side, tokenizer.pad_token_id) == (ours.padding_side, ours.pad_token_id)
    pairs = [tuple(row) for row in zip(*rows_of(run), strict=True)]
    batch = tokenizer([a for a, _ in pairs], [b for _, b in pairs], padding=True, return_tensors="pt")
    with torch.inference_mode():
        probabilities = model(**batch).logits.softmax(-1).tolist()
    for row, ours in zip(lines(run.path / "predictions" / "validation_matched.jsonl"), probabilities, strict=True):
        assert [row["scores"][model.config.id2label[i]] for i in range(3)] == pytest.approx(ours, abs=1e-5)


def rows_of(run):
    columns = read_table(run.path.parent / "data" / "mnli" / "validation_matched.tsv").columns
    return columns["premise"], columns["hypothesis"]


def test_evaluate_and_predict_give_what_the_run_gave(architecture, runs):
    result, run = runs(architecture)
    predictor = loading.load_predictor(str(run.path), None, "auto")
    assert inference.evaluate(predictor, None)["scores"] == result.scores
    ours = list(inference.label(predictor, str(run.path.parent / "data" / "mnli" / "validation_matched.tsv")))
    for row, of_run in zip(ours, lines(run.path / "predictions" / "validation_matched.jsonl"), strict=True):
        assert row["prediction"] == of_run["prediction"]
        assert row["scores"] == pytest.approx(of_run["scores"], abs=2e-6)


@pytest.mark.parametrize("name", ["xlnet", "roberta"])
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(name, runs, tmp_path):
    """With the dropout of the published configuration."""
    expected, through = runs(BY_NAME[name])
    recipe = recipe_for(BY_NAME[name], tmp_path)
    with interrupted_after(7):
        finetune(recipe, tmp_path / "run")
    assert finetune(recipe, tmp_path / "run", resume=True).scores == expected.scores
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for tensor_name, tensor in load_file(through.model / "model.safetensors").items():
        assert torch.equal(weights[tensor_name], tensor), tensor_name


@pytest.mark.parametrize("name", ["roberta", "electra", "xlm-roberta"])
def test_more_tokens_than_positions_are_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"text\.max_seq_length: expected at most the 128 positions of"):
        finetune(recipe_for(BY_NAME[name], tmp_path, **{"text.max_seq_length": 129}), tmp_path / "run")


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


@pytest.mark.parametrize("name", ["deberta-v3", "xlnet", "electra"])
def test_lowercasing_is_taken_from_the_settings_of_the_tokenizer(name, tmp_path):
    architecture = BY_NAME[name]
    path = architecture.write(tmp_path / "m")
    (path / "tokenizer.json").unlink(missing_ok=True)
    (path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    tokenizer = build_tokenizer(ModelFiles(name="m", path=path))
    assert tokenizer.encode("The ÉCLAIR", add_special_tokens=False) == architecture.ids("the éclair")


def test_accents_stay_where_the_settings_of_xlnet_say_so(tmp_path):
    path = BY_NAME["xlnet"].write(tmp_path / "m")
    (path / "tokenizer_config.json").write_text('{"keep_accents": true}')
    tokenizer = build_tokenizer(ModelFiles(name="m", path=path))
    assert tokenizer.encode("a Café", add_special_tokens=False) == processor(xlnet_spm()).encode("a Café")
    assert tokenizer.encode("a Café", add_special_tokens=False) != BY_NAME["xlnet"].ids("a Café")


BROKEN = {
    "merges": (
        "roberta",
        "merges.txt",
        "#version: 0.2\nq zz\n",
        r"merges\.txt: expected two pieces of vocab\.json in each line, got 'q zz'",
    ),
    "no special": ("deberta", "vocab.json", '{"a": 0}', r"vocab\.json: expected a vocabulary with \[PAD\], found none"),
    "no JSON": ("deberta", "vocab.json", "{", r"vocab\.json: expected JSON, got"),
    "merges of bytes": (
        "deberta",
        "merges.txt",
        b"\xff",
        r"vocab\.json: expected a byte-level BPE vocabulary beside merges\.txt, got 'utf-8' codec",
    ),
    "settings": ("deberta", "tokenizer_config.json", "{", r"tokenizer_config\.json: expected JSON"),
    "no model": ("xlnet", "spiece.model", "\xff", r"spiece\.model: expected a SentencePiece model.*copy spiece\.model again"),
    "other pieces": (
        "xlm-roberta",
        "sentencepiece.bpe.model",
        BY_NAME["deberta-v3"].files()["spm.model"],
        r"expected a SentencePiece unigram model with <s>, </s>, <unk>, got no piece <s>",
    ),
}


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


# Special tokens at both ends, two separators and no token types, and the context in front of the question.
ANSWERING = ("deberta-v3", "roberta", "xlnet")


@pytest.fixture(params=[pytest.param(a, id=a.name, marks=() if a.name in ANSWERING else pytest.mark.sweep) for a in ARCHITECTURES])
def answering(request):
    return request.param


SQUAD_SIZES = {"max_seq_length": 64, "doc_stride": 16, "max_question_length": 16}


def squad_recipe(architecture, root):
    overrides = {
        "model": str(architecture.write(root / "model")),
        "train.max_steps": 30,
        "train.max_train_samples": 120,
        "train.max_eval_samples": 30,
        "train.train_batch_size": 16,
        "train.learning_rate": 3e-3,
        "train.num_train_epochs": 5,
        **dotted(SQUAD_SIZES),
    }
    return load_recipe(recipe_path("squad2/demo"), overrides)


@pytest.fixture(scope="module")
def squad_runs(tmp_path_factory):
    finished = {}

    def run_of(architecture):
        if architecture.name not in finished:
            root = tmp_path_factory.mktemp(f"squad-{architecture.name}")
            finished[architecture.name] = finetune(squad_recipe(architecture, root), root / "run"), RunDirectory(root / "run")
        return finished[architecture.name]

    return run_of


def test_squad_training_lowers_the_loss_and_gives_scores(answering, squad_runs):
    result, run = squad_runs(answering)
    losses = [log["loss"] for log in lines(run.path / "steps.jsonl")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    assert {"validation/f1", "validation/exact_match"} <= set(result.scores)


def test_squad_answers_are_the_same_from_the_saved_model(answering, squad_runs, tmp_path):
    """Every kind of special tokens, token types and padding: the answers of the run from its model directory alone."""
    _, run = squad_runs(answering)
    table = demo.table(TASKS["squad2"], TASKS["squad2"].evals[0])
    rows = [{key: table.columns[key][i] for key in ("id", "question", "context")} for i in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = list(inference.label(loading.load_predictor(str(run.model), None, "auto"), str(tmp_path / "rows.jsonl")))
    assert {row["id"]: row["prediction"] for row in labelled} == json.loads((run.path / "predictions/predictions.json").read_text())
    for row, source in zip(labelled, rows, strict=True):
        assert row["prediction"] == (source["context"][row["start"] : row["end"]] if row["prediction"] else "")
    assert not AutoModelForQuestionAnswering.from_pretrained(run.model, output_loading_info=True)[1]["missing_keys"]


def test_squad_windows_equal_those_of_the_plain_tokenizer(answering, squad_runs):
    """Special tokens, token types and windows against the saved tokenizer's own; XLNet's has the context first."""
    _, run = squad_runs(answering)
    ours, plain = (build_tokenizer(ModelFiles(name="x", path=run.model)), AutoTokenizer.from_pretrained(run.model))
    table = demo.table(TASKS["squad2"], TASKS["squad2"].evals[0])
    examples = check_rows(table, TASKS["squad2"], limit=40)
    windows = encode_windows(examples, ours, **SQUAD_SIZES, what="x", cached=False, show=False)
    assert len(windows) > 40
    theirs = []
    for question, context in examples.texts:
        pair, only = ((context, question), "only_first") if plain.padding_side == "left" else ((question, context), "only_second")
        encoded = plain(*pair, truncation=only, max_length=64, stride=16, return_overflowing_tokens=True)
        types = encoded.get("token_type_ids") or [None] * len(encoded["input_ids"])
        theirs += list(zip(encoded["input_ids"], types, strict=True))
    for index, (ids, types) in enumerate(theirs):
        own_ids, own_types = windows.example(index)
        assert own_ids.tolist() == ids and (types is None or own_types.tolist() == types)
        assert own_ids[windows.cls_W[index]] == plain.cls_token_id
    assert len(theirs) == len(windows)
