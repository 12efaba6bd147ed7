"""A model's tokenizer is built of the best of its files."""

from typing import TYPE_CHECKING

from debft.errors import InputError
from debft.models.encoders import FAMILIES
from debft.models.files import ModelFiles, tokenizer_files
from debft.models.json_files import check_pointer, load_config, read_config
from debft.models.positions import longest_input
from debft.models.tokens.foreign import check_no_own_code, check_special_tokens, tokenizer_of_json, tokenizer_of_transformers
from debft.models.tokens.refusal import tokenizer_explained, try_out
from debft.models.tokens.vocabulary import tokenizer_from_vocabulary
from debft.tasks import Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


def build_tokenizer(files: ModelFiles, task: Task | None = None) -> "PreTrainedTokenizerFast":
    """Build the tokenizer that the checkpoint was trained with: of its vocabulary, or of its `tokenizer.json` as it stands.

    AutoTokenizer takes a `tokenizer.json` apart and builds another tokenizer of its pieces, so it is used only for types of
    model outside FAMILIES, for what they leave to their class. Raises InputError where the tokens would not be the model's,
    or `task` needs what the tokenizer does not put around its texts.
    """
    from transformers import PreTrainedTokenizerFast  # takes seconds: a plan of classification needs no tokenizer

    config = read_config(files.path)
    load_config(files.path)
    kind, file = config["model_type"], files.path / token_file(files)
    check_no_own_code(files.path)
    longest = longest_input(config) or config.get("max_position_embeddings")
    length = {"model_max_length": longest} if longest else {}
    if kind not in FAMILIES:
        backend, options = tokenizer_of_transformers(file, kind)
    elif file.name == "tokenizer.json":
        backend, options = tokenizer_of_json(file, kind)
    else:
        check_pointer(file)
        family = FAMILIES[kind]
        with tokenizer_explained(file):
            backend, options = tokenizer_from_vocabulary(file, kind), {**family.special, **family.options()}
            try_out(backend)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_Uncopied(backend), **(options | length))
    check_special_tokens(tokenizer, file, task)
    return tokenizer


class _Uncopied:
    """transformers copies the tokenizer that it is given, which takes most of a second: here it gets ours, which none else has."""

    def __init__(self, backend: "Tokenizer") -> None:
        self.backend = backend

    def __deepcopy__(self, memo: dict) -> "Tokenizer":
        return self.backend


def token_file(files: ModelFiles) -> str:
    """Return the name of the file that the tokens come from.

    Raises InputError where the directory has none that its type of model takes.
    """
    kind = read_config(files.path)["model_type"]
    names = tokenizer_files(files.path)
    present = [name for name in names if (files.path / name).is_file()]
    if not present:
        raise InputError(
            f"--model {files.path}: expected a tokenizer of {kind} ({' or '.join(names)}) in the directory, found none"
        )
    return present[0]


def check_vocabulary(files: ModelFiles, largest_id: int) -> None:
    """Raise InputError where the tokenizer gives ids that the model has no embedding for."""
    rows = read_config(files.path).get("vocab_size")
    if rows is not None and largest_id >= rows:
        raise InputError(
            f"--model {files.path}: the tokenizer gives token {largest_id}, config.json has vocab_size {rows}; "
            "they belong to different models"
        )
