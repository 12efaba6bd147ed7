"""Tiny models of every architecture of the tables, their files as the hub's repositories hold them.

The vocabularies are trained here, on the demo rows and on a few lines in other scripts. `ids` of an architecture is the
oracle of its tokens: SentencePiece itself with the published preprocessing, or the `tokenizers` object that was trained.
"""

import io
import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from debft.data.sources import demo
from debft.tasks import TASKS

OTHER_SCRIPTS = [
    "Ein Café in Zürich, naïve façades and a jalapeño.",
    "他说，妈妈，我回来了。",
    "Он сказал: мама, я дома.",
    "हिन्दी में एक वाक्य",
    'In 1,990 there were 3,000 (or 12,5) "foxes" – they cost £5 & €7 - really.',
    "1, 2, 3, 1990, 1990, 2000, 2000,",
    " ".join(chr(code) for code in range(33, 127)),
] * 8
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
SMALL = {**SIZE, **DROPOUT, "hidden_act": "gelu", "initializer_range": 0.1}
RELATIVE = {
    "relative_attention": True,
    "position_biased_input": False,
    "max_relative_positions": -1,
    "pos_att_type": "c2p|p2c",
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
V2 = {**SMALL, **RELATIVE, "model_type": "deberta-v2", "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True}
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """config: of the hub's repository, made small; files: what else lies there; ids: the oracle of a text's tokens.

    pair: the template of two texts as (what, token type); base: the class that the published checkpoint was saved from.
    """

    name: str
    config: dict
    files: Callable[[], dict[str, str | bytes]]
    ids: Callable[[str], list[int]]
    special: dict[str, int]
    pair: str
    base: str
    takes_types: bool = True

    def write(self, directory: Path, **changes) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(self.config | changes))
        for name, content in self.files().items():
            (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return directory

    def features(self, premise: list[int], hypothesis: list[int]) -> tuple[list[int], list[int]]:
        """(ids, token types) of a pair by `pair`: `cls:0 A:0 sep:0 B:1 sep:1`."""
        ids, types = [], []
        for part in self.pair.split():
            what, kind = part.split(":")
            found = {"A": premise, "B": hypothesis}.get(what) or ([] if what in "AB" else [self.special[what]])
            ids += found
            types += [int(kind)] * len(found)
        return ids, types


@cache
def demo_texts() -> tuple[str, ...]:
    task = TASKS["mnli"]
    columns = demo.table(task, task.train).columns
    return (*columns["premise"][:300], *columns["hypothesis"][:300])


def corpus() -> tuple[str, ...]:
    return (*demo_texts(), *OTHER_SCRIPTS)


@cache
def sentencepiece_model(**options) -> bytes:
    """Trained; the demo's words are added, of which the trainer makes pieces only where they occur in two different words."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=out,
        model_type="unigram",
        vocab_size=500,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    words = {f"▁{word}" for text in demo_texts() for word in text.split() if word.isalpha()}
    return with_pieces(out.getvalue(), sorted(words))


def with_pieces(model: bytes, pieces: list[str]) -> bytes:
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    there = {piece.piece for piece in proto.pieces}
    for i, piece in enumerate(piece for piece in pieces if piece not in there):
        proto.pieces.add(piece=piece, score=-3.0 - i / 64)
    return proto.SerializeToString(deterministic=True)


def deberta_spm(**options) -> bytes:
    return sentencepiece_model(
        pad_id=0,
        pad_piece="[PAD]",
        bos_id=1,
        bos_piece="[CLS]",
        eos_id=2,
        eos_piece="[SEP]",
        unk_id=3,
        unk_piece="[UNK]",
        **options,
    )


def xlm_roberta_spm() -> bytes:
    return sentencepiece_model()


@cache
def xlnet_spm() -> bytes:
    """As XLNet's README trains it; pieces that end in a digit and a comma, which the published one has, are added."""
    trained = sentencepiece_model(control_symbols="<cls>,<sep>,<pad>,<mask>,<eod>", user_defined_symbols='<eop>,.,(,),",-,–,£,€')
    return with_pieces(trained, ["▁3,", "0,", "▁1,", "▁1990,", "▁1990"])


@cache
def processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def xlm_roberta_ids(text: str) -> list[int]:
    """Source: fairseq's dictionary, <s> <pad> </s> <unk> and then the pieces from the fourth on."""
    return [piece + 1 if piece else 3 for piece in processor(xlm_roberta_spm()).encode(text)]


def xlnet_ids(text: str) -> list[int]:
    """Source: zihangdai/xlnet prepro_utils.py preprocess_text and encode_pieces."""
    text = " ".join(text.strip().split()).replace("``", '"').replace("''", '"')
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    spm, pieces = processor(xlnet_spm()), []
    for piece in spm.encode(text, out_type=str):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            again = spm.encode(piece[:-1].replace("▁", ""), out_type=str)
            if piece[0] != "▁" and again[0][0] == "▁":
                again = again[1:] if len(again[0]) == 1 else [again[0][1:], *again[1:]]
            pieces += [*again, ","]
        else:
            pieces.append(piece)
    return [spm.piece_to_id(piece) for piece in pieces]


@cache
def byte_bpe(special: tuple[str, ...], last: str) -> Tokenizer:
    """A GPT-2 style vocabulary with `special` in front and the mask behind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = {**model["vocab"], last: len(model["vocab"])}
    tokenizer.model = models.BPE(vocab=vocab, merges=[tuple(merge) for merge in model["merges"]])
    return tokenizer


def bpe_files(special: tuple[str, ...], last: str) -> dict[str, str]:
    model = json.loads(byte_bpe(special, last).to_str())["model"]
    merges = "".join(f"{one} {other}\n" for one, other in model["merges"])
    return {"vocab.json": json.dumps(model["vocab"], ensure_ascii=False), "merges.txt": f"#version: 0.2\n{merges}"}


def roberta_tokenizer_json() -> str:
    tokenizer = Tokenizer.from_str(byte_bpe(ROBERTA_SPECIAL, "<mask>").to_str())
    tokenizer.add_special_tokens([*ROBERTA_SPECIAL, "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return tokenizer.to_str()


@cache
def word_piece(lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=320, special_tokens=list(BERT_SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def word_piece_files(lowercase: bool) -> dict[str, str]:
    tokenizer = word_piece(lowercase)
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    return {
        "vocab.txt": "".join(f"{piece}\n" for piece in vocab),
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps({"do_lower_case": lowercase, "model_max_length": 128}),
    }


def converted_json(model: bytes, kind: str) -> str:
    """tokenizer.json as transformers 4 converted it: near SentencePiece, and not equal to it."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    charsmap = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    if kind == "xlm-roberta":
        vocab = [(name, 0.0) for name in ROBERTA_SPECIAL] + pieces[3:] + [("<mask>", 0.0)]
        single, pair, special = "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)]
        steps, unknown = [charsmap], 3
    else:
        vocab = [(piece, score - 100 if piece[-1:] == "," and piece[-2:-1].isdigit() else score) for piece, score in pieces]
        single, pair, special = "$A:0 <sep>:0 <cls>:2", "$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2", [("<cls>", 3), ("<sep>", 4)]
        steps, unknown = [normalizers.NFKD(), normalizers.StripAccents(), charsmap], 0
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    return tokenizer.to_str()


def plain_ids(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """Of the trained tokenizer; `[SEP]` in a text is text."""
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


DEBERTA_PAIR = "cls:0 A:0 sep:0 B:1 sep:1"
ROBERTA_PAIR = "cls:0 A:0 sep:0 sep:0 B:0 sep:0"
DEBERTA_BPE = (("[PAD]", "[CLS]", "[SEP]", "[UNK]"), "[MASK]")
ROBERTA_BPE = (ROBERTA_SPECIAL, "<mask>")
V2_SPECIAL = {"cls": 1, "sep": 2, "pad": 0, "unk": 3}


def v2(name: str, *, config: dict, base: str, **options) -> Architecture:
    settings = json.dumps({"do_lower_case": False, "vocab_type": "spm"})
    size = len(sentencepiece_model_pb2.ModelProto.FromString(deberta_spm(**options)).pieces)
    return Architecture(
        name=name,
        config={**V2, "vocab_size": size + 100, **config},
        special=V2_SPECIAL,
        pair=DEBERTA_PAIR,
        base=base,
        files=lambda: {"spm.model": deberta_spm(**options), "tokenizer_config.json": settings},
        ids=lambda text: processor(deberta_spm(**options)).encode(text),
    )


def bert(name: str, kind: str, base: str, lowercase: bool, **changes) -> Architecture:
    positions = {"max_position_embeddings": 128, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0}
    config = {**SMALL, **positions, "model_type": kind, "vocab_size": word_piece(lowercase).get_vocab_size(), **changes}
    return Architecture(
        name=name,
        config=config,
        files=lambda: word_piece_files(lowercase),
        ids=plain_ids(word_piece(lowercase)),
        special={"cls": 2, "sep": 3, "pad": 0, "unk": 1},
        pair=DEBERTA_PAIR,
        base=base,
    )


def roberta_like(name: str, kind: str, size: int, **rest) -> Architecture:
    config = {
        **SMALL,
        "model_type": kind,
        "max_position_embeddings": 130,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "vocab_size": size,
    }
    special = {"cls": 0, "sep": 2, "pad": 1, "unk": 3}
    return Architecture(name=name, config=config, special=special, pair=ROBERTA_PAIR, takes_types=False, **rest)


LENGTH_512 = json.dumps({"model_max_length": 512})
XLNET = {
    "model_type": "xlnet",
    "attn_type": "bi",
    "bi_data": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 5,
    "clamp_len": -1,
    "d_head": 16,
    "d_inner": 64,
    "d_model": 32,
    "dropout": 0.1,
    "end_n_top": 5,
    "start_n_top": 5,
    "ff_activation": "gelu",
    "initializer_range": 0.1,
    "layer_norm_eps": 1e-12,
    "mem_len": None,
    "reuse_len": None,
    "n_head": 2,
    "n_layer": 2,
    "same_length": False,
    "summary_activation": "tanh",
    "summary_last_dropout": 0.1,
    "summary_type": "last",
    "summary_use_proj": True,
    "untie_r": True,
}
ARCHITECTURES = [
    Architecture(
        name="deberta",
        special=V2_SPECIAL,
        pair=DEBERTA_PAIR,
        base="DebertaForMaskedLM",
        ids=plain_ids(byte_bpe(*DEBERTA_BPE)),
        config={**SMALL, **RELATIVE, "model_type": "deberta", "vocab_size": byte_bpe(*DEBERTA_BPE).get_vocab_size()},
        files=lambda: (
            bpe_files(*DEBERTA_BPE) | {"tokenizer_config.json": json.dumps({"do_lower_case": False, "vocab_type": "gpt2"})}
        ),
    ),
    v2(
        "deberta-v2",
        base="DebertaV2ForMaskedLM",
        config={
            "hidden_size": 128,
            "attention_head_size": 64,
            "conv_kernel_size": 3,
            "conv_act": "gelu",
            "pos_att_type": "p2c|c2p",
            "position_buckets": 256,
            "max_position_embeddings": 512,
        },
    ),
    v2("deberta-v3", config={}, base="DebertaV2ForMaskedLM", byte_fallback=True),
    v2("mdeberta", config={}, base="DebertaV2ForMaskedLM", byte_fallback=True, character_coverage=0.999),
    roberta_like(
        "roberta",
        "roberta",
        byte_bpe(*ROBERTA_BPE).get_vocab_size(),
        base="RobertaForMaskedLM",
        ids=plain_ids(byte_bpe(*ROBERTA_BPE)),
        files=lambda: bpe_files(*ROBERTA_BPE) | {"tokenizer.json": roberta_tokenizer_json(), "tokenizer_config.json": LENGTH_512},
    ),
    roberta_like(
        "xlm-roberta",
        "xlm-roberta",
        processor(xlm_roberta_spm()).get_piece_size() + 2,
        base="XLMRobertaForMaskedLM",
        ids=xlm_roberta_ids,
        files=lambda: {
            "sentencepiece.bpe.model": xlm_roberta_spm(),
            "tokenizer_config.json": LENGTH_512,
            "tokenizer.json": converted_json(xlm_roberta_spm(), "xlm-roberta"),
        },
    ),
    Architecture(
        name="xlnet",
        config={**XLNET, "vocab_size": processor(xlnet_spm()).get_piece_size()},
        base="XLNetLMHeadModel",
        special={"cls": 3, "sep": 4, "pad": 5, "unk": 0},
        pair="A:0 sep:0 B:1 sep:1 cls:2",
        ids=xlnet_ids,
        files=lambda: {"spiece.model": xlnet_spm(), "tokenizer.json": converted_json(xlnet_spm(), "xlnet")},
    ),
    bert("electra", "electra", "ElectraForPreTraining", True, embedding_size=32),
    bert("bert", "bert", "BertForPreTraining", False),
]
