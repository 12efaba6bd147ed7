"""A run goes on from its newest checkpoint, or says why it cannot; a session that computes with something else says so."""

import hashlib
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from debft.config.recipe import Recipe
from debft.errors import InputError
from debft.models.vocabulary import ActiveVocabulary
from debft.reproduce.process import last_step
from debft.runs.checkpoint import Checkpoint, moments_of, save_checkpoint
from debft.runs.directory import RunDirectory
from debft.runs.result import MemoryCut
from debft.runs.sessions import SessionOfRun
from debft.runs.storage import append_line
from debft.training import resuming
from debft.training.session import TrainState

ROWS = {"train": "1a", "validation": "2b"}


def plan_of(**changes):
    return SimpleNamespace(
        fingerprints=ROWS, total_steps=9000, recipe=Recipe(), rows_record={"path": "x", "held_out": None}, **changes
    )


def vocabulary_of(rows, of=128_000):
    """The embedding rows that training needs, all of them for None, as a checkpoint names them."""
    identity = None if rows is None else {"rows": rows, "of": of, "sha256": "0"}
    return SimpleNamespace(identity=lambda: identity, of=of)


def built(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters())


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(Recipe())
    return run


def save(directory, step=5, change=lambda model: None, **state):
    model, optimizer = built()
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    change(model)
    content = {"fingerprints": ROWS, "run": directory.number()} | state
    save_checkpoint(directory.checkpoints, f"step-{step:06d}", step, model, optimizer, content)


def refused(run, plan, vocabulary):
    with pytest.raises(InputError) as raised:
        resuming.find_checkpoint(plan, run, vocabulary)
    return str(raised.value)


def test_run_that_saved_nothing_has_no_checkpoint(run):
    assert resuming.find_checkpoint(plan_of(), run, ActiveVocabulary()) is None


def test_newest_checkpoint_of_the_same_rows_is_found(run):
    save(run, 5)
    save(run, 10)
    assert resuming.find_checkpoint(plan_of(), run, ActiveVocabulary()).step == 10


def test_checkpoint_of_other_rows_is_refused_with_the_names_of_the_splits(run):
    save(run, fingerprints={"train": "1a", "validation": "other", "left out now": "3c"})
    plan = plan_of()
    plan.fingerprints = {**ROWS, "test": "4d"}
    assert refused(run, plan, ActiveVocabulary()) == (
        f"--output {run.path}: was trained on other rows of validation, test (texts, labels or their names); give another --output"
    )


def test_checkpoint_of_another_run_is_refused(run):
    save(run, run="0123456789abcdef")
    assert "step-000005 (it is that of another run)" in refused(run, plan_of(), ActiveVocabulary())


@pytest.mark.parametrize(("before", "now"), [(None, None), (None, 700), (700, 700)])
def test_checkpoint_with_the_optimizer_state_of_the_rows_or_of_all_is_taken(run, before, now):
    save(run, active_vocabulary=vocabulary_of(before).identity())
    assert resuming.find_checkpoint(plan_of(), run, vocabulary_of(now)).step == 5


@pytest.mark.parametrize(("now", "needed"), [(1700, "1,700"), (None, "128,000")])
def test_checkpoint_with_the_optimizer_state_of_other_rows_is_refused(run, now, needed):
    save(run, active_vocabulary=vocabulary_of(1500).identity())
    assert refused(run, plan_of(), vocabulary_of(now)) == (
        f"--output {run.path}: expected optimizer state of the {needed} embedding rows that the training rows need, the checkpoint "
        "has that of 1,500 others: the texts have other tokens now; give another --output, or go on with the version of debft and "
        "the tokenizer that the run began with"
    )


def test_checkpoint_with_numbers_that_are_not_finite_is_refused_by_its_name(run):
    save(run, change=lambda model: model.bias.data.fill_(torch.nan))
    assert refused(run, plan_of(), ActiveVocabulary()) == (
        f"{run.checkpoints}/step-000005: expected finite numbers, bias has 2 of 2 numbers that are not finite; remove it to go on "
        "from the one before"
    )


def test_checkpoint_with_optimizer_state_that_is_not_finite_is_refused(run):
    save(run)
    saved = resuming.find_checkpoint(plan_of(), run, ActiveVocabulary())
    saved.moments["bias/exp_avg"].fill_(torch.inf)
    with pytest.raises(InputError, match="bias/exp_avg has 2 of 2 numbers that are not finite"):
        resuming._check_finite(saved, run)


class Vocabulary:
    """Reads every number of a checkpoint as its double, and notes the step."""

    step = None

    def read_weights(self, weights, step):
        self.step = step
        return {name: 2 * tensor for name, tensor in weights.items()}

    def read_moments(self, moments):
        return {name: 2 * tensor for name, tensor in moments.items()}


class Scaler:
    def __init__(self):
        self.loaded = []

    def load_state_dict(self, state):
        self.loaded.append(state)


def checkpoint_of(step=7, **state):
    names = {"weight": torch.full((2, 3), 1.5), "bias": torch.tensor([1.0, 2.0])}
    moments = {f"{name}/{moment}": tensor + 1 for name, tensor in names.items() for moment in ("exp_avg", "exp_avg_sq")}
    moments |= {f"{name}/step": torch.tensor(3.5) for name in names}
    return Checkpoint(step=step, digest="", weights=names, moments=moments, state=state, logs={})


def test_run_without_a_checkpoint_begins_at_the_first_step_with_what_was_built():
    model, optimizer = built()
    before = model.weight.detach().clone()
    assert resuming.restore(None, SimpleNamespace(scaler=None), model, optimizer, Vocabulary()) == TrainState()
    assert torch.equal(model.weight, before) and not optimizer.state


def test_weights_and_optimizer_state_are_those_that_the_vocabulary_reads():
    (model, optimizer), saved, vocabulary = built(), checkpoint_of(), Vocabulary()
    resuming.restore(saved, SimpleNamespace(scaler=None), model, optimizer, vocabulary)
    assert vocabulary.step == 7
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, 2 * saved.weights[name])
        state = {moment: 2 * saved.moments[f"{name}/{moment}"] for moment in ("exp_avg", "exp_avg_sq", "step")}
        assert all(torch.equal(optimizer.state[parameter][moment], tensor) for moment, tensor in state.items())


def test_state_of_a_run_is_that_of_its_checkpoint():
    cut = MemoryCut(during="training", step=3, before=64, after=32)
    one = SessionOfRun(from_step=0, to_step=7, environment={"precision": "fp16"}, changed={"train.weight_decay": 0.1})
    state = TrainState(
        step=7,
        evaluated=6,
        best_step=4,
        best_score=81.5,
        waited=2,
        num_examples=112,
        num_tokens=900,
        train_seconds=1.5,
        eval_seconds=0.5,
        optimisation={"train.learning_rate": 1e-5},
        sessions=[one],
        overflows=1,
        cuts=[cut],
    )
    content = {key: value for key, value in json.loads(json.dumps(asdict(state))).items() if key != "step"}
    saved = checkpoint_of(7, **content, fingerprints=ROWS, labels=["no", "yes"], run="0123456789abcdef")
    assert resuming.restore(saved, SimpleNamespace(scaler=None), *built(), Vocabulary()) == state


def test_checkpoint_of_an_older_debft_has_no_cuts_and_one_session_that_was_not_recorded():
    state = resuming.restore(checkpoint_of(7), SimpleNamespace(scaler=None), *built(), Vocabulary())
    assert state == TrainState(step=7, sessions=[SessionOfRun(from_step=0, to_step=7, environment={})])


def test_loss_scale_goes_on_where_the_run_is_in_fp16():
    scale, scaler = {"scale": 1024.0}, Scaler()
    resuming.restore(checkpoint_of(loss_scale=scale), SimpleNamespace(scaler=scaler), *built(), Vocabulary())
    resuming.restore(checkpoint_of(), SimpleNamespace(scaler=scaler), *built(), Vocabulary())  # it was not in fp16 until here
    resuming.restore(checkpoint_of(loss_scale=scale), SimpleNamespace(scaler=None), *built(), Vocabulary())  # it is no longer
    assert scaler.loaded == [scale]


def test_other_processes_take_what_process_0_has_read_and_compare_all_of_it(monkeypatch):
    """They read no file."""
    saved, compared, sent = checkpoint_of(7, num_tokens=900), [], []

    def send(own):
        assert own == {}
        sent.append([saved.weights, saved.moments][len(sent)])
        return sent[-1]

    monkeypatch.setattr(
        resuming, "broadcast_from_main", lambda own: (saved.step, saved.state) if own is None else pytest.fail("read")
    )
    monkeypatch.setattr(resuming, "broadcast_tensors_from_main", send)
    monkeypatch.setattr(resuming, "check_same_on_all_ranks", lambda facts: compared.append(facts()))
    model, optimizer = built()
    state = resuming.restore(None, SimpleNamespace(scaler=None), model, optimizer, Vocabulary())
    assert (state.step, state.num_tokens) == (7, 900)
    assert torch.equal(model.bias, 2 * saved.weights["bias"])
    assert compared == [
        {
            "step of the checkpoint": "7",
            "weights of the checkpoint": resuming._digest({name: 2 * tensor for name, tensor in saved.weights.items()}),
            "optimizer state of the checkpoint": resuming._digest({name: 2 * tensor for name, tensor in saved.moments.items()}),
        }
    ]


def test_process_that_holds_a_part_of_the_model_reads_what_another_would(monkeypatch):
    """It is alone here, and its part is the whole."""
    saved, read = checkpoint_of(7), []
    monkeypatch.setattr(
        "debft.training.sharding.broadcast_tensors_from_main",
        lambda own, take: {name: take(name, tensor) for name, tensor in own.items()},
    )
    for sharded in (False, True):
        model, optimizer = built()
        monkeypatch.setattr(resuming, "is_sharded", lambda given, one=model, sharded=sharded: sharded and given is one)
        if sharded:
            monkeypatch.setattr(resuming, "broadcast_tensors_from_main", lambda tensors: pytest.fail("all of it in each process"))
        vocabulary = Vocabulary()
        state = resuming.restore(saved, SimpleNamespace(scaler=None), model, optimizer, vocabulary)
        read.append(model.state_dict() | moments_of(model, optimizer))
        assert (state.step, vocabulary.step) == (7, 7)
    whole, part = read
    assert whole.keys() == part.keys() and all(torch.equal(whole[name], tensor) for name, tensor in part.items())


@pytest.mark.parametrize("name", ["cuts", "sessions"])
def test_state_of_another_form_is_told_by_its_place(name):
    with pytest.raises(ValueError, match=f"^{name}: expected a list, got 'x'$"):
        resuming.restore(checkpoint_of(**{name: "x"}), SimpleNamespace(scaler=None), *built(), Vocabulary())


def test_digest_is_of_the_names_and_the_numbers_whatever_their_order():
    tensors = {"b": torch.tensor([[1.0, 2.0]]).t(), "a": torch.tensor(3, dtype=torch.int16)}
    content = b"a" + tensors["a"].numpy().tobytes() + b"b" + tensors["b"].numpy().tobytes()
    assert resuming._digest(tensors) == hashlib.sha256(content).hexdigest()[:12]


def test_first_session_notes_what_it_began_with(run, capsys):
    state, before = TrainState(), (run.path / "recipe.yaml").read_bytes()
    resuming.begin_session(plan_of(), run, state, {"precision": "fp32"})
    assert state.sessions == [SessionOfRun(from_step=0, to_step=0, environment={"precision": "fp32"})]
    assert state.optimisation["train.learning_rate"] == Recipe().train.learning_rate
    assert state.optimisation["sift.weight"] == Recipe().sift.weight
    assert ((run.path / "recipe.yaml").read_bytes(), capsys.readouterr().err) == (before, "")


def test_first_session_changes_nothing_also_where_the_run_has_saved_nothing_with_what_it_began(run, capsys):
    """It died before its first checkpoint, and is begun with other options."""
    plan, state = plan_of(), TrainState()
    plan.recipe = replace(Recipe(), train=replace(Recipe().train, learning_rate=1e-6))
    resuming.begin_session(plan, run, state, {"precision": "fp32"})
    assert (state.sessions[0].changed, state.optimisation["train.learning_rate"]) == ({}, 1e-6)
    assert (run.recipe(), capsys.readouterr().err) == (plan.recipe, "")


def begun(run):
    """The state of a run after five steps of its first session."""
    state = TrainState()
    resuming.begin_session(plan_of(), run, state, {"precision": "fp32"})
    state.step, state.sessions = 5, [replace(state.sessions[0], to_step=5)]
    return state


def test_session_that_changes_nothing_says_nothing(run, capsys):
    state, before = begun(run), (run.path / "recipe.yaml").read_bytes()
    resuming.begin_session(plan_of(), run, state, {"precision": "fp32"})
    assert state.sessions[1] == SessionOfRun(from_step=5, to_step=5, environment={"precision": "fp32"})
    assert ((run.path / "recipe.yaml").read_bytes(), capsys.readouterr().err) == (before, "")


def test_changed_option_of_the_optimisation_is_said_recorded_and_the_runs_from_here_on(run, capsys):
    state, plan = begun(run), plan_of()
    number, first = run.number(), dict(state.optimisation)
    plan.recipe = replace(Recipe(), train=replace(Recipe().train, learning_rate=1e-6))
    resuming.begin_session(plan, run, state, {"precision": "fp32"})
    rate = Recipe().train.learning_rate
    assert capsys.readouterr().err.splitlines() == [
        "warning: resumed after step 5 with train.learning_rate 1e-06, not as begun; result.json records it"
    ]
    assert state.sessions[1].changed == {"train.learning_rate": 1e-6}
    assert state.optimisation == first and first["train.learning_rate"] == rate
    assert (run.recipe(), run.number()) == (plan.recipe, number)


def test_other_machine_is_said(run, capsys):
    resuming.begin_session(plan_of(), run, begun(run), {"precision": "bf16"})
    assert "resumed after step 5 with precision bf16, not fp32" in capsys.readouterr().err


def test_only_the_newest_change_is_said(run, capsys):
    state = begun(run)
    resuming.begin_session(plan_of(), run, state, {"precision": "bf16"})
    capsys.readouterr()
    resuming.begin_session(plan_of(), run, state, {"precision": "bf16"})
    assert capsys.readouterr().err == ""


def claim(run, start, state=None, saved=None):
    resuming.claim_run(plan_of(), run, state or TrainState(), saved, start)


@pytest.mark.parametrize(
    ("start", "said"),
    [("new", ""), ("overwrite", ""), ("restart", ""), ("resume", "{}: holds no run to resume; starting afresh\n")],
)
def test_run_that_is_not_there_is_begun(tmp_path, capsys, start, said):
    run = RunDirectory(tmp_path / "run")
    claim(run, start)
    assert (run.recipe(), run.split()["path"]) == (Recipe(), "x")
    assert capsys.readouterr().err.replace("\n", " ").strip() == said.format(run.path).strip()


@pytest.mark.parametrize("start", ["overwrite", "restart"])
def test_run_that_is_to_begin_anew_is_removed_and_said(run, capsys, start):
    save(run)
    number = run.number()
    claim(run, start)
    assert run.number() != number and not run.checkpoints.exists()
    assert capsys.readouterr().err.replace("\n", " ") == f"removed the run that was in {run.path}; beginning at step 1 "


def test_run_without_a_checkpoint_begins_at_step_1_with_empty_logs(run, capsys):
    run.logs.append("steps.jsonl", {"step": 1, "loss": 1.0, "num_tokens": 30})
    claim(run, "resume")
    assert run.logs.rows("steps.jsonl") == [] and run.split()["path"] == "x"
    assert capsys.readouterr().err.replace("\n", " ") == f"{run.path}: no checkpoint was saved; beginning at step 1 of 9,000 "


@pytest.mark.parametrize("line", ["[" * 5000, "[]", "5", "{", '{"step": 1e999}', '{"step": "x"}'], ids=range(6))
def test_line_of_a_log_that_no_run_writes_is_dropped(run, line):
    run.logs.append("steps.jsonl", {"step": 1, "loss": 1.0, "num_tokens": 10})
    append_line(run.path / "steps.jsonl", line)
    assert last_step(run.path) == 0
    run.logs.rewind(1, 0, {})
    assert [row["step"] for row in run.logs.rows("steps.jsonl")] == [last_step(run.path)] == [1]


def test_run_goes_on_with_the_logs_of_its_checkpoint(run, capsys):
    """What came later is done again; best checkpoints that no state names go."""
    for step in range(1, 8):
        run.logs.append("steps.jsonl", {"step": step, "loss": 1.0, "num_tokens": 10})
        run.logs.append("evaluations.jsonl", {"step": step, "scores": {}})
    save(run, 5)
    for step in (4, 6):
        save_checkpoint(run.checkpoints, f"best-{step:06d}", step, built()[0], None, {})
    state = TrainState(step=5, evaluated=4, best_step=4, num_tokens=50)
    claim(run, "resume", state, checkpoint_of(5))
    assert [row["step"] for row in run.logs.rows("steps.jsonl")] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in run.logs.rows("evaluations.jsonl")] == [1, 2, 3, 4]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["best-000004", "step-000005"]
    assert not (run.path / "split.json").exists()  # it was written when the run began
    assert capsys.readouterr().err == "resuming after step 5 of 9,000\n"


def test_lines_that_the_log_lacks_come_back_from_the_checkpoint(run, capsys):
    line = b'{"step": 1, "loss": 1.0, "num_tokens": 10}\n'
    (run.path / "steps.jsonl").write_bytes(b"")
    claim(run, "resume", TrainState(step=1, num_tokens=10), replace(checkpoint_of(1), logs={"steps.jsonl": line}))
    assert (run.path / "steps.jsonl").read_bytes() == line
    assert "taken back from the checkpoint" in capsys.readouterr().err.replace("\n", " ")


def test_lines_that_are_lost_are_found_before_the_first_step(run):
    run.logs.append("steps.jsonl", {"step": 1, "loss": 1.0, "num_tokens": 10})
    run.logs.append("steps.jsonl", {"step": 2, "loss": 1.0})
    with pytest.raises(InputError) as raised:
        claim(run, "resume", TrainState(step=2000, num_tokens=3000), checkpoint_of(2000))
    assert str(raised.value) == (
        f"{run.path}/steps.jsonl: expected 3,000 tokens up to step 2,000, as the checkpoint has, got 10: lines are lost; --restart "
        "in the place of --resume begins the run anew"
    )
