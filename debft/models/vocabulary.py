"""During the steps of a run the embedding table has only the rows of tokens that the training rows contain: the active vocabulary.

It changes nothing but memory and time. A row whose token never occurs has the gradient 0 at every step. Adam begins with
m = v = 0, and 0 <- beta * 0 + (1 - beta) * 0 leaves both there, with and without bias correction, so that the update
m / (sqrt(v) + eps) is 0 / eps = 0: eps is above 0. Nor does the row add to the norm that clipping looks at. What is left of AdamW's
step t is p <- (1 - lr_t * weight_decay) * p, and of all steps together one factor, their product, which needs no optimizer.

That factor is computed in float64 and applied to the table that the run began with, so that such a row is rounded once, whenever
it is looked at: neither a save nor an evaluation nor an interruption changes a bit of it. AdamW itself rounds it at every step.

Legend: V rows of the whole table, A active ones, E its width; T tokens of all training sequences.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from debft.data.arrays import pieces
from debft.data.encoding import EncodedSplit
from debft.models.shards import is_part, whole_of
from debft.runs.result import TrainedRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_ACTIVE = 0.9  # of the rows: above it hardly anything is saved
ROWS_AT_ONCE = 2**8  # rows that are float64 at a time: they stay in a cache, which is ten times as fast as large parts

Split = TypeVar("Split", bound=EncodedSplit)


@dataclass(kw_only=True)
class CutTable:
    """An embedding table of which the model has the active rows alone during the steps.

    embedding: the module.
    name: of its weight in the model's state_dict.
    of: rows of the whole table.
    rows_A: int64, the token ids of the active rows, rising.
    base_VE: the whole table as it was after `since` steps, in the memory of the CPU; its active rows are not used.
    decay: gives the factor by which AdamW's decay shrinks a row without gradient from one number of steps done to another.
    shown_VE: the whole table, where a sharded model looks tokens up in it: a parameter of which each process holds a part cannot be
        exchanged. None while it looks them up in that parameter.
    """

    embedding: torch.nn.Embedding
    name: str
    of: int
    rows_A: torch.Tensor
    base_VE: torch.Tensor
    decay: Callable[[int, int], float]
    since: int = 0
    shown_VE: torch.Tensor | None = None

    def is_whole(self) -> bool:
        """Return whether the model has the whole table at this moment."""
        return self.shown_VE is not None or len(self.embedding.weight) == self.of

    def put(self, table: torch.Tensor) -> None:
        """Let the embedding's weight hold this table."""
        self.embedding.weight.data = table
        self.embedding.num_embeddings = len(table)

    def left_out(self) -> int:
        """Return the numbers of the table that the model does not have at this moment."""
        return (self.of - len(self.embedding.weight)) * self.embedding.embedding_dim

    def put_whole(self, step: int) -> None:
        """Give the model, which has the active rows, its whole table as it is after `step` steps."""
        weight = self.embedding.weight
        if is_part(weight):
            self.shown_VE = self.with_rows(whole_of(weight), step).to(weight.device)
            vars(self.embedding)["forward"] = partial(torch.nn.functional.embedding, weight=self.shown_VE)
            return
        factor = self.decay(self.since, step)
        table_VE = self.base_VE.to(weight.device, copy=factor != 1.0)
        self.put(_with_rows(_scale(table_VE, factor), self.rows_A, weight.data))

    def put_active(self, active_AE: torch.Tensor) -> None:
        """Give the model the active rows again, which it had before it was given the whole table."""
        if self.shown_VE is None:
            self.put(active_AE)
            return
        self.shown_VE = None
        del vars(self.embedding)["forward"]

    def with_rows(self, active_AE: torch.Tensor, step: int) -> torch.Tensor:
        """Return a whole table of its own, as it is after `step` steps that left the active rows so, in the memory of the CPU."""
        return _with_rows(_scale(self.base_VE.clone(), self.decay(self.since, step)), self.rows_A, active_AE.cpu())

    def check_use(self, module: torch.nn.Module, inputs: Any) -> None:
        """Stop an evaluation that would look up the tokens of a text in the active rows."""
        assert module.training or self.is_whole(), "outside of a step the model is used within `whole`"


@dataclass(frozen=True, kw_only=True)
class ActiveVocabulary:
    """The embedding has the active rows during the steps, and the whole table whenever somebody else looks at the model.

    The parameter stays the same object with the same name, and what it holds is exchanged: the optimizer and the wrapper for
    several processes only ever see the active rows.

    of: rows of the whole table; 0 where the model has none that can be cut.
    why_whole: why all rows are trained; "" where they are not, or where nearly all of them are active.
    cut: the table where it is cut; None where all rows are trained.
    """

    of: int = 0
    why_whole: str = ""
    cut: CutTable | None = None

    def trained(self) -> TrainedRows | None:
        """Return how many rows are trained, None where all are."""
        return None if self.cut is None else TrainedRows(rows=len(self.cut.rows_A), of=self.of)

    def line(self) -> str:
        """Return what a person should know, "" where it is nothing: all rows are trained since nearly all are active."""
        if self.cut is not None:
            return f"{len(self.cut.rows_A):,} of {self.of:,} embedding rows occur in the training rows and are trained"
        return f"all embedding rows are trained: {self.why_whole}" if self.why_whole else ""

    def identity(self) -> dict[str, Any] | None:
        """Return what tells in a checkpoint which rows its optimizer state is of; None for all of them."""
        if self.cut is None:
            return None
        rows_A = self.cut.rows_A
        return {"rows": len(rows_A), "of": self.of, "sha256": hashlib.sha256(rows_A.numpy().tobytes()).hexdigest()}

    def renumbered(self, split: Split) -> Split:
        """Return the training split, whose tokens are to be looked up at the places of the active rows."""
        if self.cut is None:
            return split
        places_V = np.full(self.of, -1, dtype=np.int32)
        places_V[self.cut.rows_A.numpy()] = np.arange(len(self.cut.rows_A), dtype=np.int32)
        return replace(split, places_V=places_V)

    @contextmanager
    def whole(self, step: int) -> Iterator[None]:
        """Give the model its whole table, as it is after `step` steps, while the block lasts.

        What is changed in it, as by `load_state_dict`, is gone afterwards. All processes of a sharded model do it together.
        """
        if self.cut is None or self.cut.is_whole():
            yield
            return
        active_AE = self.cut.embedding.weight.data
        self.cut.put_whole(step)
        try:
            yield
        finally:
            self.cut.put_active(active_AE)

    def state_of(self, model: "PreTrainedModel") -> dict[str, torch.Tensor]:
        """Return the state of the model, with the table that it looks tokens up in."""
        state = model.state_dict()
        return state if self.cut is None or self.cut.shown_VE is None else state | {self.cut.name: self.cut.shown_VE}

    def left_out(self) -> int:
        """Return the numbers of the table that the model does not have at this moment."""
        return 0 if self.cut is None else self.cut.left_out()

    def bytes_of_table(self) -> int:
        """Return what the whole table takes where `whole_weights` makes one, 0 where the model has it."""
        return 0 if self.cut is None or not self.cut.left_out() else self.cut.base_VE.nbytes

    def put_whole(self, step: int) -> None:
        """Give the model its whole table for good: the last step is done."""
        if self.cut is not None and not self.cut.is_whole():
            self.cut.put_whole(step)

    def whole_weights(self, weights: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        """Return weights of the model, as they are after `step` steps, with the whole table; the model is not touched.

        A thread may do this with copies of the weights while steps go on.
        """
        if self.cut is None or len(weights[self.cut.name]) == self.of:
            return weights
        return weights | {self.cut.name: self.cut.with_rows(weights[self.cut.name], step)}

    def read_weights(self, weights: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        """Return the weights of a checkpoint of `step` as the model takes them now, with the active rows alone.

        The other rows are those that the run began with, decayed, so that a run which goes on ends with the same bits as one
        that was never interrupted. Where the checkpoint has others, as from other files, the run goes on from the checkpoint's.
        """
        cut = self.cut
        if cut is None or cut.is_whole() or cut.name not in weights:
            return weights
        table_VE = weights[cut.name]
        active_AE = table_VE[cut.rows_A]
        if not torch.equal(cut.with_rows(active_AE, step), table_VE):
            cut.base_VE, cut.since = table_VE, step
        return weights | {cut.name: active_AE}

    def read_moments(self, moments: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the optimizer state of a checkpoint with that of the active rows alone, also where it has all rows."""
        cut = self.cut
        if cut is None:
            return moments
        of_all_rows = [key for key, tensor in moments.items() if key.startswith(f"{cut.name}/") and len(tensor.shape) == 2]
        return moments | {key: moments[key][cut.rows_A] for key in of_all_rows if len(moments[key]) == self.of}


def use_active_vocabulary(
    model: "PreTrainedModel", ids_T: np.ndarray, pad_id: int, decay: Callable[[int, int], float]
) -> ActiveVocabulary:
    """Cut the model's embedding table to the rows that training needs, unless that is not possible or not worth it.

    A model may look for special tokens by their number: RoBERTa counts positions from the padding, BART seeks the end of the text.
    So these numbers and all below them are active and stay what they are; the padding's stays with the rest of the program, too.

    ids_T: the token ids of the training rows
    """
    embedding, why_whole = _table_to_cut(model)
    if embedding is None:
        return ActiveVocabulary(why_whole=why_whole)
    weight = embedding.weight
    active_V = np.zeros(len(weight), dtype=bool)
    for part in pieces(ids_T):
        active_V[part] = True
    active_V[: _last_special(model, embedding, pad_id) + 1] = True
    if why_whole or active_V.mean() > MOST_ACTIVE:
        return ActiveVocabulary(of=len(weight), why_whole=why_whole)
    name = next(name for name, parameter in model.named_parameters() if parameter is weight)
    rows_A = torch.from_numpy(np.flatnonzero(active_V))
    cut = CutTable(embedding=embedding, name=name, of=len(weight), rows_A=rows_A, base_VE=weight.data, decay=decay)
    cut.put(weight.data[rows_A])
    embedding.register_forward_pre_hook(cut.check_use)
    return ActiveVocabulary(of=cut.of, cut=cut)


def embedding_name(model: "PreTrainedModel") -> str | None:
    """Return the name of the weight that the tokens are looked up in; None where it has none."""
    embedding, _ = _table_to_cut(model)
    if embedding is None:
        return None
    return next(name for name, parameter in model.named_parameters() if parameter is embedding.weight)


def _table_to_cut(model: "PreTrainedModel") -> tuple[torch.nn.Embedding | None, str]:
    """Return (the embedding of the tokens, why it must stay whole)."""
    try:
        embedding = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # transformers raises one or the other where a model looks up no tokens
        embedding = None
    if not isinstance(embedding, torch.nn.Embedding):
        return None, "the model has no embedding table of its tokens"
    weight = embedding.weight
    if sum(parameter is weight for _, parameter in model.named_parameters(remove_duplicate=False)) > 1:
        return embedding, "another layer uses them too"
    if not weight.requires_grad:
        return embedding, "they are frozen"
    return embedding, ""


def _last_special(model: "PreTrainedModel", embedding: torch.nn.Embedding, pad_id: int) -> int:
    """Return the highest token id that configuration, embedding or tokenizer know as a special token."""
    known = [value for key, value in model.config.to_dict().items() if key.endswith("_token_id")]
    flat = [pad_id, embedding.padding_idx, *known]
    ids = [one for value in flat for one in (value if isinstance(value, list) else [value])]
    return max(one for one in ids if isinstance(one, int))


def _scale(table_VE: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply a float32 table by a float64 number in place, each element rounded once."""
    if factor != 1.0:
        for part in table_VE.split(ROWS_AT_ONCE):
            part.copy_(part.double() * factor)
    return table_VE


def _with_rows(table_VE: torch.Tensor, rows_A: torch.Tensor, active_AE: torch.Tensor) -> torch.Tensor:
    """Write the active rows into the table in place."""
    return table_VE.index_copy_(0, rows_A.to(table_VE.device), active_AE)
