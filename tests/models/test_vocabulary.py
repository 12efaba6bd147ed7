"""The active vocabulary: which rows it has, that a model with them gives the same outputs, and what becomes of the other rows."""

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES
from on_device import DEVICES, require
from transformers import AutoModelForSequenceClassification

from debft.config.recipe import TrainConfig
from debft.data.encoding import EncodedSplit
from debft.data.packing import Collator
from debft.data.windows import EncodedWindows
from debft.models.json_files import load_config
from debft.models.vocabulary import ActiveVocabulary, use_active_vocabulary
from debft.runs.result import TrainedRows
from debft.training.optimization import build_optimizer, decay_factor
from debft.training.schedule import learning_rate

ROWS, WIDTH, PAD = 40, 3, 2
USED = [30, 7, 7, 12]
ACTIVE = [0, 1, 2, 7, 12, 30]
STEPS = 50


class Tiny(torch.nn.Module):
    """What a model must have here: an embedding, and a configuration with the numbers of its special tokens."""

    def __init__(self, special=(("pad_token_id", PAD), ("bos_token_id", None))):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(ROWS, WIDTH, padding_idx=PAD)
        self.out = torch.nn.Linear(WIDTH, 1)
        self.config = type("Config", (), {"to_dict": lambda _: dict(special)})()

    def get_input_embeddings(self):
        return self.table

    def forward(self, ids):
        return self.out(self.table(ids).tanh())


def cut(model, decay=lambda first, last: 1.0, ids=USED):
    return use_active_vocabulary(model, np.array(ids, dtype=np.int32), PAD, decay)


def test_rows_are_those_of_the_tokens_and_all_up_to_the_last_special_one():
    vocabulary = cut(Tiny())
    assert vocabulary.cut.rows_A.tolist() == ACTIVE
    assert vocabulary.trained() == TrainedRows(rows=6, of=ROWS)
    special = {"pad_token_id": PAD, "eos_token_id": [4, 5], "sep_token_id": None, "vocab_size": ROWS}
    assert cut(Tiny(special.items())).cut.rows_A.tolist() == [0, 1, 2, 3, 4, 5, 7, 12, 30]


def test_model_sees_the_active_rows_under_the_usual_name_and_the_whole_table_within_the_block():
    model = Tiny()
    before = model.table.weight.detach().clone()
    (parameter, *_) = model.parameters()
    vocabulary = cut(model)
    assert model.table.num_embeddings == 6 and torch.equal(model.state_dict()["table.weight"], before[ACTIVE])
    with vocabulary.whole(0), vocabulary.whole(0):
        assert model.table.num_embeddings == ROWS and torch.equal(model.state_dict()["table.weight"], before)
    assert torch.equal(model.table.weight, before[ACTIVE])
    assert next(model.parameters()) is parameter  # the optimizer has it
    vocabulary.put_whole(0)
    with vocabulary.whole(0):
        pass
    assert torch.equal(model.table.weight, before)  # for good


def test_active_rows_are_in_the_whole_table_as_they_were_trained():
    model = Tiny()
    vocabulary = cut(model)
    model.table.weight.data += 1
    trained = model.table.weight.detach().clone()
    with vocabulary.whole(1):
        assert torch.equal(model.table.weight[ACTIVE], trained)
    assert torch.equal(model.table.weight, trained)


@pytest.mark.parametrize("kind", [EncodedSplit, EncodedWindows])
def test_training_split_gets_the_places_of_the_rows(kind):
    ids_T = np.array([30, 1, 2, 7, 7, 12], dtype=np.int32)
    rest = {"types_T": np.zeros(6, np.int8), "ends_S": np.array([2, 6]), "labels_S": None, "truncated": 0}
    windows = {"offsets_T2": None, "question_W": None, "cls_W": np.array([0, 0]), "cut_questions": 0}
    split = kind(ids_T=ids_T, **rest, **(windows if kind is EncodedWindows else {}))
    renumbered = cut(Tiny()).renumbered(split)
    ids = [renumbered.example(index)[0] for index in range(2)]
    assert type(renumbered) is kind and ids[0].dtype == np.int32
    assert [one.tolist() for one in ids] == [[5, 1], [2, 3, 3, 4]]  # the padding, 2, stays what it is
    assert renumbered.ids_T is ids_T and renumbered.ends_S is split.ends_S


def frozen(model):
    model.table.weight.requires_grad_(False)


def tied(model):
    model.decoder = torch.nn.Linear(WIDTH, ROWS)
    model.decoder.weight = model.table.weight


def without(model):
    model.get_input_embeddings = lambda: None


@pytest.mark.parametrize(
    ("change", "reason"), [(frozen, "they are frozen"), (tied, "another layer uses them too"), (without, "has no embedding table")]
)
def test_table_that_cannot_be_cut_stays_whole_and_the_reason_is_said(change, reason):
    model = Tiny()
    change(model)
    vocabulary = cut(model)
    assert vocabulary.cut is None and len(model.table.weight) == ROWS
    assert vocabulary.line().startswith("all embedding rows are trained:") and reason in vocabulary.line()
    split = EncodedSplit(ids_T=np.array(USED), types_T=None, ends_S=None, labels_S=None, truncated=0)
    assert vocabulary.renumbered(split) is split
    with vocabulary.whole(3):
        assert vocabulary.identity() is None


def test_table_that_is_nearly_all_active_stays_whole():
    vocabulary = cut(Tiny(), ids=range(37))
    assert vocabulary.cut is None and vocabulary.trained() is None and vocabulary.line() == ""
    assert cut(Tiny(), ids=range(36)).trained() == TrainedRows(rows=36, of=ROWS)


def test_evaluation_of_the_active_rows_alone_is_a_bug():
    model = Tiny()
    vocabulary = cut(model)
    model(torch.tensor([1]))
    model.eval()
    with pytest.raises(AssertionError, match="within `whole`"):
        model(torch.tensor([1]))
    with vocabulary.whole(0):
        model(torch.tensor([ROWS - 1]))


@pytest.mark.parametrize("bias_correction", [True, False])
def test_row_without_gradient_is_left_by_adamw_with_the_decay_alone(bias_correction):
    """Both dialects of the optimizer, 50 steps of changing rates, against the factor in float64; 0 in both moments.

    Each step rounds to float32, by 6e-8 at most, in a random direction: 50 of them are off by 4e-7, a worst case of 3e-6.
    """
    config = TrainConfig(learning_rate=1e-2, weight_decay=0.1, warmup_steps=10, bias_correction=bias_correction, max_steps=STEPS)
    model = Tiny()
    before = model.table.weight.detach().clone()
    optimizer = build_optimizer(model, config)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = learning_rate(step, config, STEPS)
        model(torch.tensor([[30, 7]])).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    factor = decay_factor(config, STEPS, 0, STEPS)
    assert 0.96 < factor < 0.98
    untouched = [row for row in range(ROWS) if row not in (30, 7)]
    state = optimizer.state[model.table.weight]
    assert not state["exp_avg"][untouched].any() and not state["exp_avg_sq"][untouched].any()
    torch.testing.assert_close(model.table.weight[untouched].double(), before[untouched].double() * factor, rtol=3e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_weights_that_a_thread_makes_whole_have_the_bits_of_those_within_the_block(device, weight_decay):
    """Also where there is no decay and the block shares memory with the table that the run began with."""
    config = TrainConfig(learning_rate=1e-2, weight_decay=weight_decay, max_steps=STEPS)
    model = Tiny()
    vocabulary = cut(model, decay=lambda first, last: decay_factor(config, STEPS, first, last))
    model.to(require(device))
    model.table.weight.data *= 2
    copy = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    with vocabulary.whole(17):
        expected = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    model.table.weight.data *= 3  # a step goes on
    got = vocabulary.whole_weights(copy, 17)
    assert got.keys() == expected.keys() and all(torch.equal(got[name], expected[name]) for name in got)
    assert vocabulary.bytes_of_table() == expected["table.weight"].nbytes
    assert vocabulary.whole_weights(expected, 17) is expected


def test_decay_of_the_other_rows_is_the_float64_product_rounded_once_whenever_it_is_looked_at():
    config = TrainConfig(learning_rate=1e-2, weight_decay=0.1, warmup_steps=10, max_steps=STEPS)
    model = Tiny()
    before = model.table.weight.detach().clone()
    vocabulary = cut(model, decay=lambda first, last: decay_factor(config, STEPS, first, last))
    others = [row for row in range(ROWS) if row not in ACTIVE]
    for step in (17, 18, 18, STEPS):
        product = np.prod([1 - 0.1 * 1e-2 * (k / 10 if k < 10 else (STEPS - k) / (STEPS - 10)) for k in range(step)])
        with vocabulary.whole(step):
            got = model.table.weight[others].detach().numpy()
        expected = before[others].double().numpy() * product
        # numpy multiplies the same factors in another order, so that the last bit of a few elements may differ
        np.testing.assert_allclose(got, expected.astype(np.float32), rtol=1.2e-7, atol=0)
        assert np.mean(got == expected.astype(np.float32)) > 0.9


def resumed(config, files_table, saved, step):
    """A vocabulary of the same training rows whose table came from `files_table`, and the model that read `saved`."""
    model = Tiny()
    model.table.weight.data = files_table.clone()
    vocabulary = cut(model, decay=lambda first, last: decay_factor(config, STEPS, first, last))
    model.load_state_dict(vocabulary.read_weights(saved, step))
    return model, vocabulary


@pytest.mark.parametrize("device", DEVICES)
def test_resumed_decay_has_the_bits_of_the_uninterrupted_one_on_any_device(device):
    """One run stays on `device`, the other goes on from its checkpoint on the CPU."""
    config = TrainConfig(learning_rate=1e-2, weight_decay=0.1, max_steps=STEPS)
    model = Tiny()
    files_table = model.table.weight.detach().clone()
    vocabulary = cut(model, decay=lambda first, last: decay_factor(config, STEPS, first, last))
    model.to(require(device))
    model.table.weight.data *= 2
    with vocabulary.whole(17):
        saved = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    again, vocabulary_again = resumed(config, files_table, saved, 17)
    assert torch.equal(again.table.weight, model.table.weight.cpu())
    vocabulary.put_whole(STEPS)
    vocabulary_again.put_whole(STEPS)
    assert torch.equal(again.table.weight, model.table.weight.cpu())
    from_rounded = (saved["table.weight"].double() * decay_factor(config, STEPS, 17, STEPS)).float()
    others = [row for row in range(ROWS) if row not in ACTIVE]
    assert not torch.equal(from_rounded[others], again.table.weight[others])  # this test would see a second rounding


def test_rows_of_a_checkpoint_that_are_not_those_of_the_files_are_gone_on_from():
    config = TrainConfig(learning_rate=1e-2, weight_decay=0.1, max_steps=STEPS)
    saved = {name: torch.randn_like(tensor) for name, tensor in Tiny().state_dict().items()}
    model, vocabulary = resumed(config, Tiny().table.weight.detach(), saved, 17)
    with vocabulary.whole(17):
        assert torch.equal(model.table.weight, saved["table.weight"])
    vocabulary.put_whole(STEPS)
    expected = (saved["table.weight"].double() * decay_factor(config, STEPS, 17, STEPS)).float()
    others = [row for row in range(ROWS) if row not in ACTIVE]
    assert torch.equal(model.table.weight[others], expected[others])


def test_optimizer_state_of_all_rows_gives_that_of_the_active_ones():
    vocabulary = cut(Tiny())
    whole, other = torch.randn(ROWS, WIDTH), torch.randn(ROWS, 1)
    moments = {"table.weight/exp_avg": whole, "table.weight/step": torch.tensor(3.0), "out.weight/exp_avg": other}
    read = vocabulary.read_moments(moments)
    assert torch.equal(read["table.weight/exp_avg"], whole[ACTIVE])
    assert read["table.weight/step"] == 3 and read["out.weight/exp_avg"] is other
    assert all(torch.equal(vocabulary.read_moments(read)[name], tensor) for name, tensor in read.items())
    assert ActiveVocabulary().read_moments(moments) is moments


def test_identity_tells_other_rows_of_the_same_number_apart():
    assert cut(Tiny()).identity() == cut(Tiny()).identity() != cut(Tiny(), ids=[30, 7, 13]).identity()


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_every_encoder_gives_the_same_outputs_and_gradients_with_its_active_rows(architecture, tmp_path):
    """Padded, with the same dropout masks. RoBERTa counts its positions from the number of the padding, XLNet pads in front."""
    config = load_config(architecture.write(tmp_path / "m"))
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").train()
    pad, left = architecture.special["pad"], architecture.name == "xlnet"
    ids_T = np.random.default_rng(0).choice(np.arange(6, config.vocab_size, 3), 23).astype(np.int32)
    rest = {"types_T": np.zeros(23, np.int8), "ends_S": np.array([9, 14, 23]), "labels_S": np.array([0, 1, 0]), "truncated": 0}
    split = EncodedSplit(ids_T=ids_T, **rest)
    collate = Collator(pad_id=pad, names=("input_ids", "attention_mask"), device=torch.device("cpu"), left=left)

    def outputs_and_gradient(split):
        torch.manual_seed(4)
        model.zero_grad()
        logits = model(**{name: t for name, t in collate(split, np.arange(3)).items() if name != "labels"}).logits
        logits.square().sum().backward()
        return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    logits, gradient = outputs_and_gradient(split)
    vocabulary = use_active_vocabulary(model, ids_T, pad, lambda first, last: 1.0)
    assert vocabulary.trained().rows < vocabulary.trained().of / 2
    model.zero_grad()
    logits_active, gradient_active = outputs_and_gradient(vocabulary.renumbered(split))
    assert torch.equal(logits_active, logits)
    table = gradient[vocabulary.cut.name]
    gradient[vocabulary.cut.name] = table[vocabulary.cut.rows_A]
    others = np.setdiff1d(np.arange(vocabulary.of), vocabulary.cut.rows_A)
    assert not table[others].any()
    assert gradient_active.keys() == gradient.keys()
    for name, expected in gradient.items():
        # The gradient of a looked-up row is a sum whose order the kernel chooses.
        torch.testing.assert_close(gradient_active[name], expected, rtol=1e-5, atol=1e-7, msg=lambda m, name=name: f"{name}: {m}")
