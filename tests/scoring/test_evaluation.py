"""One sweep over all splits against the plain way: split by split, batch by batch, decoded once all logits are there."""

import json
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import torch
from conftest import write_model_config

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.batches import by_length, micro_batches
from debft.data.load import load_table, present
from debft.data.rows import check_rows
from debft.errors import MachineError
from debft.models import shards
from debft.models.files import find_model
from debft.scoring import collecting, evaluation, spans
from debft.scoring.evaluation import PARTS, evaluation_tokens, predict_splits
from debft.scoring.loaded import load_model
from debft.tasks import QuestionAnswering, task_of

CPU = SimpleNamespace(process_index=0, num_processes=1, is_main_process=False, device=torch.device("cpu"))
TOKENS = 400  # of a training batch: several batches a split


def opened(task_name: str, attention: str = "eager", data: str = "demo", limit: int | None = 60, device: str = "cpu", **overrides):
    """(model, examples by split, encoded by split) of a task's dev splits."""
    recipe = load_recipe(recipe_path("demo"), {"task": task_name, "train.from_scratch": True} | overrides)
    task = task_of(task_name, recipe.languages)
    files = find_model(recipe.model, from_scratch=True)
    loaded = load_model(files, task, recipe, torch.device(device), attention=attention, new_head=True)
    loaded.model.to(device)
    examples = {split.name: check_rows(load_table(task, split, data), task, limit) for split in present(task, data).evals}
    encoded = {
        name: loaded.head.prepare(loaded.encode(rows, recipe, name, cached=False, show=False)) for name, rows in examples.items()
    }
    return loaded, examples, encoded


def plainly(loaded, split, tokens: int = TOKENS) -> list[np.ndarray]:
    """The logits of every sequence without padding, in the order of the split, by a loop over one split alone."""
    lengths, logits = split.lengths(), {}
    loaded.model.eval()
    order, packed = by_length(np.arange(len(split)), lengths), loaded.collate.packed
    for batch in micro_batches(order, lengths, evaluation_tokens(tokens, packed, CPU.device), packed=packed):
        with torch.inference_mode():
            outputs = loaded.head.outputs(loaded.model, loaded.collate(split, batch)).numpy()
        for index, row in zip(batch.tolist(), outputs, strict=True):
            logits[index] = row[: lengths[index]] if isinstance(loaded.task, QuestionAnswering) else row
    return [logits[index] for index in range(len(split))]


def assessed_plainly(loaded, split, examples, tokens: int = TOKENS):
    """Scores, rows and files of one split, from all of its logits at once."""
    logits = plainly(loaded, split, tokens)
    if not isinstance(loaded.task, QuestionAnswering):
        return loaded.head.assess(np.stack(logits), split, examples)
    windows = spans.Windows(offsets_T2=split.offsets_T2, ends_W=split.ends_S, cls_W=split.cls_W, question_W=split.question_W)
    config = loaded.head.config
    sizes = {"max_answer_length": config.max_answer_length, "n_best_size": config.n_best_size}
    return loaded.head.assess(spans.search(np.concatenate(logits), windows, **sizes), split, examples)


def swept(loaded, encoded, examples, accelerator=CPU, **options):
    outcomes = predict_splits(loaded, accelerator, encoded, micro_batch_tokens=TOKENS, **options)
    return {name: loaded.head.assess(outcomes[name], split, examples[name]) for name, split in encoded.items()}


WINDOWS = {"text.max_seq_length": 32, "questions.doc_stride": 8, "questions.max_question_length": 12}


@pytest.mark.parametrize("attention", ["eager", "torch"])
@pytest.mark.parametrize("task", ["cola", "stsb", "squad2", "squad"])
def test_sweep_over_one_split_is_the_plain_loop_to_the_last_digit(task, attention):
    """The batches are the same, so that scores, rows and files are: threshold, n-best lists and probabilities too."""
    loaded, examples, encoded = opened(task, attention, **(WINDOWS if task.startswith("squad") else {}))
    ((name, split),) = encoded.items()
    ours, plain = swept(loaded, encoded, examples)[name], assessed_plainly(loaded, split, examples[name])
    assert (ours.scores, ours.settings, ours.rows) == (plain.scores, plain.settings, plain.rows)
    assert json.dumps(ours.files) == json.dumps(plain.files)


@pytest.mark.parametrize("attention", ["eager", "torch"])
@pytest.mark.parametrize(("task", "options"), [("mnli", {}), ("xnli", {"languages.eval_languages": "en,fr,th,zh"})])
def test_sweep_over_several_splits_scores_each_as_it_scores_alone(task, options, attention):
    """Other neighbours in a batch: the scores are equal, the logits to the rounding of float32 (1e-6 of logits below 1)."""
    loaded, examples, encoded = opened(task, attention, **options)
    assert len(encoded) > 1
    logits = predict_splits(loaded, CPU, encoded, micro_batch_tokens=TOKENS)
    for name, split in encoded.items():
        np.testing.assert_allclose(logits[name], plainly(loaded, split), rtol=0, atol=1e-6)
        ours = loaded.head.assess(logits[name], split, examples[name])
        assert ours.scores == assessed_plainly(loaded, split, examples[name]).scores


def test_batch_without_padding_has_no_more_tokens_than_one_of_training_on_a_cpu():
    """There it would leave the caches; a GPU is not filled by fewer, and what is padded keeps the batches it had."""
    loaded, _, encoded = opened("mnli", "torch")
    sizes = []

    def collate(split, indices):
        sizes.append(int(split.lengths()[indices].sum()))
        return loaded.collate(split, indices)

    collate.left, collate.packed = False, True
    predict_splits(replace(loaded, collate=collate), CPU, encoded, micro_batch_tokens=TOKENS)
    longest = max(int(split.lengths().max()) for split in encoded.values())
    assert max(sizes) <= TOKENS and min(sizes[:-1]) > TOKENS - longest
    assert evaluation_tokens(TOKENS, True, torch.device("cuda")) == evaluation_tokens(TOKENS, False, CPU.device) > TOKENS


def test_evaluation_of_a_sharded_model_says_by_how_much_less_memory_it_would_do(monkeypatch):
    """The option that is named is of training batches, of which one of an evaluation has several times the tokens."""
    loaded, _, encoded = opened("mnli")
    for room in (evaluation, shards):
        monkeypatch.setattr(room, "is_sharded", lambda model: True)

    def outputs(model, batch):
        raise MemoryError("no room")

    head = SimpleNamespace(outputs=outputs, collector=loaded.head.collector)
    with pytest.raises(MachineError) as error:
        predict_splits(replace(loaded, head=head), CPU, encoded, micro_batch_tokens=TOKENS)
    tried, advised = re.search(r"enough for ([\d,]+) tokens at once.* runtime.micro_batch_tokens=(\d+)", str(error.value)).groups()
    assert int(tried.replace(",", "")) == evaluation_tokens(TOKENS, False, CPU.device) == evaluation.FACTOR * TOKENS
    assert evaluation_tokens(int(advised), False, CPU.device) <= evaluation.FACTOR * TOKENS / 2


def test_sweep_fills_its_batches_across_the_splits():
    """None but the last has room for one more sequence of its own length, however many splits there are."""
    loaded, _, encoded = opened("xnli", **{"languages.eval_languages": "en,fr,th,zh"})
    sizes = []

    def collate(split, indices):
        sizes.append(len(indices) * int(split.lengths()[indices].max()))
        longest.append(int(split.lengths()[indices].max()))
        return loaded.collate(split, indices)

    longest = []
    collate.left, collate.packed = False, False
    predict_splits(replace(loaded, collate=collate), CPU, encoded, micro_batch_tokens=TOKENS)
    room = evaluation_tokens(TOKENS, False, CPU.device)
    assert all(size + length > room for size, length in list(zip(sizes, longest, strict=True))[:-1])
    assert len(sizes) > 2


@pytest.mark.parametrize("task", ["mnli", "stsb", "squad2"])
def test_batches_without_padding_score_as_the_plain_padded_loop(task):
    """Accuracy, F1 and exact match to the last digit; a correlation moves with the logits, here by 1e-5 at most."""
    options = WINDOWS if task == "squad2" else {}
    loaded, examples, encoded = opened(task, "torch", **options)
    assert loaded.collate.packed
    padded, _, _ = opened(task, "eager", **options)
    for name, assessment in swept(loaded, encoded, examples).items():
        plain = assessed_plainly(padded, encoded[name], examples[name])
        assert assessment.scores == (pytest.approx(plain.scores, abs=1e-3) if task == "stsb" else plain.scores)


def test_windows_of_a_question_go_to_one_process_and_all_to_some():
    _, _, encoded = opened("squad2", **WINDOWS)
    (split,) = encoded.values()
    assert len(split) > len(set(split.question_W.tolist())), "no question has two windows"
    shares = [evaluation._share(encoded, split.lengths(), rank, 3) for rank in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(split)))
    questions = [set(split.question_W[share].tolist()) for share in shares]
    assert not (questions[0] & questions[1] or questions[0] & questions[2] or questions[1] & questions[2])
    tokens = [int(split.lengths()[share].sum()) for share in shares]
    assert max(tokens) - min(tokens) <= max(np.bincount(split.question_W, split.lengths()))


@pytest.mark.parametrize("task", ["mnli", "squad2"])
def test_processes_put_their_parts_together(task, monkeypatch):
    """Three shares, one after the other; the last of them gathers."""
    loaded, examples, encoded = opened(task, **(WINDOWS if task == "squad2" else {}))
    together, _ = scored_by(3, loaded, encoded, monkeypatch)
    for name, outcome in together.items():
        assessment = loaded.head.assess(outcome, encoded[name], examples[name])
        alone = assessed_plainly(loaded, encoded[name], examples[name])
        assert assessment.scores == alone.scores
        assert [row["prediction"] for row in assessment.rows] == [row["prediction"] for row in alone.rows]


@pytest.mark.parametrize("task_name", ["cola", "squad2"])
def test_few_examples_are_scored_once_each_by_any_number_of_processes(task_name, monkeypatch):
    """1 to 17 examples on 1 to 3 processes, some without any: none twice, none left out, and all meet equally often."""
    options = WINDOWS if task_name == "squad2" else {}
    loaded, _, _ = opened(task_name, limit=17, **options)
    recipe = load_recipe(recipe_path("demo"), {"task": task_name, "train.from_scratch": True} | options)
    (dev,) = present(loaded.task, "demo").evals
    table = load_table(loaded.task, dev, "demo")
    for count in range(1, 18):
        rows = check_rows(table, loaded.task, count)
        encoded = {dev.name: loaded.head.prepare(loaded.encode(rows, recipe, dev.name, cached=False, show=False))}
        alone = swept(loaded, encoded, {dev.name: rows})[dev.name].rows
        assert len({row["id"] for row in alone}) == count
        for world in (2, 3):
            together, met = scored_by(world, loaded, encoded, monkeypatch)
            assert met == [rank for rank in range(world) for _ in range(PARTS)]
            assessed = loaded.head.assess(together[dev.name], encoded[dev.name], rows)
            assert [row["prediction"] for row in assessed.rows] == [row["prediction"] for row in alone]


def scored_by(world, loaded, encoded, monkeypatch):
    """(outcomes, which process asked the others when whether to leave) of so many shares, one after the other; the last gathers."""
    parts, met = [], []

    class Waits(Exception):
        pass

    def send(collected, accelerator):
        parts.append(collected)
        if len(parts) < world:
            raise Waits
        return parts

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "_sent_to_main", send)
        for rank in range(world):
            place = SimpleNamespace(process_index=rank, num_processes=world, is_main_process=False, device=CPU.device)
            leave = partial(met.append, rank)
            with pytest.raises(Waits) if rank < world - 1 else nullcontext():
                together = predict_splits(loaded, place, encoded, micro_batch_tokens=TOKENS, leave=leave)
    return together, met


class Left(Exception):
    """The processes have agreed to leave."""


def test_sweep_asks_before_each_batch_and_leaves_in_its_middle():
    loaded, examples, encoded = opened("mnli")
    asked = []

    def should_stop():
        asked.append(None)
        return len(asked) == 2

    def leave():
        if len(asked) == 2:
            raise Left

    with pytest.raises(Left):
        swept(loaded, encoded, examples, should_stop=should_stop, leave=leave)
    assert len(asked) == 2


# It has the thread that a GPU gets, and its model on the CPU all the same.
AS_BY_A_GPU = SimpleNamespace(process_index=0, num_processes=1, is_main_process=False, device=torch.device("cuda"))


def threads_of_pools() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_files_are_the_same_where_a_thread_searches_the_answers(monkeypatch):
    monkeypatch.setattr(spans, "CHUNK", 8)
    loaded, examples, encoded = opened("squad2", **WINDOWS)
    ((name, split),) = encoded.items()
    ours, plain = swept(loaded, encoded, examples, AS_BY_A_GPU)[name], assessed_plainly(loaded, split, examples[name])
    assert (ours.scores, ours.settings, ours.rows) == (plain.scores, plain.settings, plain.rows)
    assert json.dumps(ours.files) == json.dumps(plain.files)
    assert not threads_of_pools()


def test_interrupt_in_the_middle_of_the_sweep_leaves_no_thread(monkeypatch):
    """Ctrl-C of `debft evaluate`: raised in the main thread, while the other searches or has nothing to do."""
    monkeypatch.setattr(spans, "CHUNK", 8)
    loaded, examples, encoded = opened("squad2", limit=300, **WINDOWS)
    asked = []

    def should_stop():
        asked.append(threads_of_pools())
        if len(asked) == 6:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        swept(loaded, encoded, examples, AS_BY_A_GPU, should_stop=should_stop)
    assert asked[-1] and not threads_of_pools()


@pytest.mark.parametrize("limit", [2, 60])
def test_processes_meet_as_often_whatever_each_has_to_do(limit):
    """A process with fewer batches than parts meets the others all the same: else they would wait for it."""
    loaded, examples, encoded = opened("mnli", limit=limit)
    met = []
    swept(loaded, encoded, examples, leave=lambda: met.append(None))
    assert len(met) == PARTS


def collected(split, logits, order, at_once=7, executor=None):
    """(what a collector returns of the windows in that order, the most windows whose logits it held)."""
    collector = collecting.SpanCollector(split, left=False, max_answer_length=30, n_best_size=20, executor=executor)
    held = 0
    for start in range(0, len(order), at_once):
        batch = order[start : start + at_once]
        padded = np.full((len(batch), int(split.lengths()[batch].max()), 2), np.finfo(np.float32).min, dtype=np.float32)
        for row, window in enumerate(batch.tolist()):
            padded[row, : split.lengths()[window]] = logits[window]
        collector.add(batch, padded)
        held = max(held, len(collector.logits))
    return collector.merged([collector.collected()]), held


@pytest.fixture(scope="module")
def many_windows():
    """The windows of some hundred questions, with logits that are drawn."""
    _, _, encoded = opened("squad2", limit=None, **WINDOWS)
    (split,) = encoded.values()
    rng = np.random.default_rng(0)
    return split, [rng.normal(size=(n, 2)).astype(np.float32) for n in split.lengths()]


def searched_at_once(split, logits):
    windows = spans.Windows(offsets_T2=split.offsets_T2, ends_W=split.ends_S, cls_W=split.cls_W, question_W=split.question_W)
    return spans.search(np.concatenate(logits), windows, max_answer_length=30, n_best_size=20)


def assert_same(one, other):
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("beside", [False, True])
def test_search_while_the_model_goes_on_finds_what_the_search_at_the_end_finds(many_windows, beside, monkeypatch):
    """In the order of the lengths and in any other, on a thread of its own and without."""
    monkeypatch.setattr(spans, "CHUNK", 16)
    split, logits = many_windows
    whole = searched_at_once(split, logits)
    for order in (by_length(np.arange(len(split)), split.lengths()), np.random.default_rng(1).permutation(len(split))):
        with ThreadPoolExecutor(1) if beside else nullcontext() as executor:
            assert_same(collected(split, logits, order, executor=executor)[0], whole)


def test_collector_drops_the_logits_of_questions_that_are_searched(many_windows, monkeypatch):
    """In the order of the split: of a question the windows come one after another, so that hardly more than a chunk is held."""
    monkeypatch.setattr(spans, "CHUNK", 16)
    split, logits = many_windows
    most = int(np.bincount(split.question_W).max())
    _, held = collected(split, logits, np.arange(len(split)))
    assert len(split) > 20 * held and held <= 16 + 7 + most


def test_model_is_held_up_where_the_search_does_not_follow(many_windows, monkeypatch):
    """The executor has nothing done before somebody waits for it: no more than QUEUED chunks lie there at any time."""
    monkeypatch.setattr(spans, "CHUNK", 16)
    split, logits = many_windows

    class Lazy:
        """An executor that does a piece of work when its result is asked for."""

        waiting = 0
        most = 0

        def submit(self, work, logits_T2, windows):
            self.waiting += 1
            self.most = max(self.most, self.waiting)

            def result():
                self.waiting -= 1
                return work(logits_T2, windows)

            return SimpleNamespace(result=result)

    executor = Lazy()
    best, _ = collected(split, logits, np.arange(len(split)), executor=executor)
    assert executor.most == collecting.QUEUED + 1
    assert_same(best, searched_at_once(split, logits))


def test_error_of_the_search_is_raised_where_the_model_runs(many_windows, monkeypatch):
    monkeypatch.setattr(spans, "CHUNK", 16)
    split, logits = many_windows

    def fail(*_, **__):
        raise MemoryError("no room for the spans")

    monkeypatch.setattr(spans, "search", fail)
    with ThreadPoolExecutor(1) as executor, pytest.raises(MemoryError, match="no room for the spans"):
        collected(split, logits, np.arange(len(split)), executor=executor)
    assert not threads_of_pools()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])  # the last is finite, and the sum of a start and an end is not
def test_logits_of_one_window_that_are_not_finite_are_noticed_by_all(many_windows, value):
    split, logits = many_windows
    collector = collecting.SpanCollector(split, left=False, max_answer_length=30, n_best_size=20, executor=None)
    for window, one in enumerate(logits):
        collector.add(np.array([window]), np.full_like(one, value)[None] if window == 5 else one[None])
    not_finite, _ = collector.collected()
    merged = collector.merged([([], None), (not_finite, None), ([], None)])
    assert merged.tolist() == [split.question_W[5]]


@pytest.fixture
def real_model(shared, demo_model, tmp_path):
    """The demo's tiny model with the 128,000 pieces of DeBERTa-v3, which real text needs."""
    path = write_model_config(tmp_path / "model", demo_model, vocab_size=128_100)
    shutil.copy(shared / "tokenizer" / "deberta-v3" / "spm.model", path / "spm.model")
    return path


@pytest.mark.parametrize("attention", [pytest.param("eager", marks=pytest.mark.sweep), "torch"])
def test_real_text_in_fifteen_languages_scores_in_one_sweep_as_language_by_language(shared, real_model, attention):
    options = {"model": str(real_model), "text.max_seq_length": 64}
    loaded, examples, encoded = opened("xnli", attention, str(shared), 40, **options)
    assert len(encoded) == 15
    for name, assessment in swept(loaded, encoded, examples).items():
        assert assessment.scores == assessed_plainly(loaded, encoded[name], examples[name]).scores, name


@pytest.mark.parametrize("attention", ["eager", pytest.param("torch", marks=pytest.mark.sweep)])
def test_files_of_real_questions_are_those_of_the_plain_loop(shared, real_model, attention):
    options = {"model": str(real_model), "text.max_seq_length": 128, "questions.doc_stride": 32}
    loaded, examples, encoded = opened("squad2", attention, str(shared), 60, **options)
    ((name, split),) = encoded.items()
    assert len(split) > len(examples[name])
    ours, plain = swept(loaded, encoded, examples)[name], assessed_plainly(loaded, split, examples[name])
    assert (ours.scores, ours.settings, ours.rows) == (plain.scores, plain.settings, plain.rows)
    assert json.dumps(ours.files) == json.dumps(plain.files)


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA GPU")
    return torch.device("cuda")


@pytest.mark.gpu
def test_outputs_of_a_gpu_arrive_without_a_stop_of_the_host(gpu):
    """torch raises at every call that would wait for the GPU, but not where the copy of a batch is waited for."""
    weights = torch.arange(4.0, device=gpu)
    loaded = SimpleNamespace(
        model=None,
        collate=lambda split, batch: torch.from_numpy(batch).to(gpu, non_blocking=True),
        head=SimpleNamespace(outputs=lambda model, batch: batch[:, None] * weights),
    )
    batches = [np.arange(start, start + 50) for start in range(0, 1000, 50)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        arrived = list(evaluation._outputs(loaded, None, batches))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (batch, outputs), expected in zip(arrived, batches, strict=True):
        np.testing.assert_array_equal(batch, expected)
        np.testing.assert_array_equal(outputs, expected[:, None] * np.arange(4.0))


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["eager", "torch"])
@pytest.mark.parametrize("task", ["mnli", "squad2"])
def test_sweep_on_a_gpu_predicts_what_the_plain_loop_on_a_cpu_predicts(gpu, task, attention):
    """Float32 on both: the logits agree to rounding, so that nine of ten predictions do where the best two are that close."""
    options = WINDOWS if task == "squad2" else {}
    loaded, examples, encoded = opened(task, attention, device="cuda", **options)
    on_cpu, _, _ = opened(task, "eager", **options)
    accelerator = SimpleNamespace(process_index=0, num_processes=1, is_main_process=False, device=gpu)
    for name, assessment in swept(loaded, encoded, examples, accelerator).items():
        plain = assessed_plainly(on_cpu, encoded[name], examples[name])
        same = [ours["prediction"] == theirs["prediction"] for ours, theirs in zip(assessment.rows, plain.rows, strict=True)]
        assert np.mean(same) >= 0.9


@pytest.mark.sweep
def test_two_processes_write_the_answers_of_one(tmp_path):
    """Each searches its own questions; the search's results travel, not the logits."""
    options = ("--recipe", "demo", "--data", "demo", "--max-steps", 1, "--max-train-samples", 40, "--max-eval-samples", 60)
    command = ("squad2", *options, "--learning-rate", 1e-9, "--set", "runtime.micro_batch_tokens=300")
    alone = processes.run(*command, "--output", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    for process in processes.start_two(*command, "--output", tmp_path / "two"):
        said = process.communicate()
        assert process.returncode == 0, said
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "predictions" / "validation.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [(row["id"], row["prediction"]) for row in one] == [(row["id"], row["prediction"]) for row in two]
