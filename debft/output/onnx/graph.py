"""A model becomes an ONNX file, through transformers' own forward over padded batches of any size and length.

DeBERTa-v2 cuts distances into buckets by a logarithm that is rounded up. On the border of a bucket the last bit of the logarithm
decides, and another program's logarithm may have another one, so the exported graph looks its buckets up in torch's own table.

Legend: B sequences in a batch, L its padded length.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.models.deberta_v2 import modeling_deberta_v2

from debft.errors import InputError, first_line
from debft.scoring.loaded import LoadedModel
from debft.tasks import QuestionAnswering

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OPSET = 18  # of ONNX: old enough for the onnxruntime of 2023, new enough for one LayerNormalization instead of nine operators
BIGGEST = 1_900_000_000  # bytes of weights in one file; an ONNX file of protobuf holds less than 2 GiB
LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch.fx.experimental.symbolic_shapes")


class _Exported(torch.nn.Module):
    """The model is called by position, and returns its logits alone: (B, C), or start and end, (B, L) each."""

    def __init__(self, model: "PreTrainedModel", names: tuple[str, ...], *, spans: bool) -> None:
        super().__init__()
        self.model, self.names, self.spans = model, names, spans

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        inputs = dict(zip(self.names, tensors, strict=True))
        if self.model.config.model_type == "xlnet":  # it subtracts the mask from 1.0, which the exporter refuses of whole numbers
            inputs["attention_mask"] = inputs["attention_mask"].float()
        output = self.model(**inputs)
        return (output.start_logits, output.end_logits) if self.spans else output.logits


def input_names(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the names of the tensors that the model reads: a DeBERTa without token types is not given any."""
    without_types = getattr(loaded.model.config, "type_vocab_size", None) == 0
    return tuple(name for name in loaded.collate.names if not (without_types and name == "token_type_ids"))


def output_names(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the names of what the exported model gives."""
    return ("start_logits", "end_logits") if isinstance(loaded.task, QuestionAnswering) else ("logits",)


def write_onnx(loaded: LoadedModel, file: Path) -> None:
    """Write the model, which computes in transformers' own way, as an ONNX file. Weights beyond BIGGEST lie in a file beside it.

    Raises InputError where its type of model cannot be exported.
    """
    assert loaded.attention == "eager", "a packed forward is no graph of tensors"
    names, model = input_names(loaded), loaded.model.eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    # Each input is a tensor of its own: the exporter takes one object that is given twice for one input.
    examples = {"input_ids": loaded.collate.pad_id, "attention_mask": 1, "token_type_ids": 0}
    with _quiet(), _buckets_of_a_table(model), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Exported(model, names, spans=isinstance(loaded.task, QuestionAnswering)),
                tuple(torch.full((3, 11), examples[name], dtype=torch.int64) for name in names),
                input_names=list(names),
                output_names=list(output_names(loaded)),
                dynamic_shapes=(tuple({0: batch, 1: length} for _ in names),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
            kind = model.config.model_type
            raise InputError(f"{loaded.files.path}: a {kind} cannot be exported to ONNX: {first_line(error)}") from None
    assert program is not None
    for node in program.model.graph.all_nodes():  # where in the user's Python each came from
        node.metadata_props.clear()
    program.save(file, external_data=weight_bytes(model) > BIGGEST)


def weight_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of the model's weights."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())


@contextmanager
def _buckets_of_a_table(model: "PreTrainedModel") -> Iterator[None]:
    """Let DeBERTa-v2's buckets come from a table that torch computes here, for every distance that has one of its own."""
    buckets = getattr(model.config, "position_buckets", -1)
    relative = getattr(model.config, "relative_attention", False)
    if model.config.model_type != "deberta-v2" or not relative or buckets <= 0:
        yield
        return
    encoder: Any = model.get_submodule("deberta.encoder")
    by_logarithm, longest = modeling_deberta_v2.make_log_bucket_position, int(encoder.max_relative_positions)
    # Beyond `longest` all distances are in the last bucket, to which the attention clamps them.
    farthest = 2 * longest
    table = by_logarithm(torch.arange(-farthest, farthest + 1), buckets, longest).to(torch.int64)

    def looked_up(relative_pos: torch.Tensor, bucket_size: int, max_position: int) -> torch.Tensor:
        assert (bucket_size, max_position) == (buckets, longest)
        return table[relative_pos.clamp(-farthest, farthest) + farthest]

    modeling_deberta_v2.make_log_bucket_position = looked_up
    try:
        yield
    finally:
        modeling_deberta_v2.make_log_bucket_position = by_logarithm


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says of itself while it works; its errors are raised."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
