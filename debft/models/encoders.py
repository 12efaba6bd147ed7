"""Each family of encoders has its own files of tokens, and wants its own special tokens around a text."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class EncoderFamily:
    """A family of encoders reads its texts in one form.

    files: the files that the tokens may come from, the best first.
    special: the special tokens, by transformers' name for each.
    single: the template of one text, with the token type of each part.
    pair: the template of two texts.
    classes: transformers' names of the tokenizers that make these tokens of a vocabulary.
    takes_types: whether the model has an input for the token types.
    left: whether padding stands in front of the text.
    """

    files: tuple[str, ...]
    special: dict[str, str]
    single: str
    pair: str
    classes: tuple[str, ...]
    takes_types: bool = True
    left: bool = False

    def needed(self) -> list[str]:
        """Return the special tokens that a vocabulary must have; the mask may be missing."""
        return [token for name, token in self.special.items() if name != "mask_token"]

    def options(self) -> dict:
        """Return the keyword arguments of a transformers tokenizer, without its special tokens."""
        types = ["token_type_ids"] if self.takes_types else []
        side = {"padding_side": "left"} if self.left else {}
        return {"model_input_names": ["input_ids", *types, "attention_mask"], "split_special_tokens": True, **side}


# Names of transformers' classes from which nothing follows for the tokens.
GENERIC_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend", "AutoTokenizer")

_BERT = EncoderFamily(
    files=("tokenizer.json", "vocab.txt"),
    special={"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"},
    single="[CLS]:0 $A:0 [SEP]:0",
    pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
    classes=("BertTokenizer", "ElectraTokenizer", "DistilBertTokenizer"),
)
_DEBERTA = replace(
    _BERT,
    files=("tokenizer.json", "vocab.json"),
    special={**_BERT.special, "bos_token": "[CLS]", "eos_token": "[SEP]"},
    classes=("DebertaTokenizer",),
)
_ROBERTA = EncoderFamily(
    files=("tokenizer.json", "vocab.json"),
    special={
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    },
    single="<s>:0 $A:0 </s>:0",
    pair="<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0",
    classes=("RobertaTokenizer",),
    takes_types=False,
)
# By model_type. Source: transformers 5.23 convert_slow_tokenizer.py, the converters of that name; DeBERTa's single [SEP]:
# microsoft/DeBERTa DeBERTa/data/example.py example_to_feature at commit 009cc44, huggingface/transformers issue 15735.
FAMILIES = {
    "deberta-v2": replace(_DEBERTA, files=("spm.model", "tokenizer.json"), classes=("DebertaV2Tokenizer",)),
    "deberta": _DEBERTA,
    "bert": _BERT,
    "electra": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, files=("sentencepiece.bpe.model", "tokenizer.json"), classes=("XLMRobertaTokenizer",)),
    "xlnet": EncoderFamily(
        files=("spiece.model", "tokenizer.json"),
        special={
            "pad_token": "<pad>",
            "cls_token": "<cls>",
            "sep_token": "<sep>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
            "bos_token": "<s>",
            "eos_token": "</s>",
        },
        single="$A:0 <sep>:0 <cls>:2",
        pair="$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2",
        classes=("XLNetTokenizer",),
        left=True,
    ),
}
