"""A tokenizer is looked at, to see whether the tokens of a text are those of its words, one after the other."""

import base64
import json
import re
from typing import Any

from sentencepiece.sentencepiece_model_pb2 import NormalizerSpec
from tokenizers import Tokenizer, models, normalizers

from debft.models.tokens.vocabulary import APART, normalizer_steps, xlnet_steps


def reads_word_by_word(backend: Tokenizer) -> bool:
    """Tell whether a text between two spaces has its tokens whatever stands beyond them.

    It is told only of the unigram models that `tokenizer_from_spm` builds, also when they were saved as a tokenizer.json. Their
    normalizer looks at a character, what it composes with, and runs of spaces. The most likely pieces of a text are those of its
    words where no piece goes on behind a space: scores are float32 numbers, whose sum float64 holds without rounding, so that
    ties fall alike as well. `▁`, a piece itself, keeps unknown characters of two words from being one.
    """
    if not isinstance(backend.model, models.Unigram) or any(not t.special for t in backend.get_added_tokens_decoder().values()):
        return False
    pieces = backend.get_vocab(with_added_tokens=True)
    if "▁" not in pieces or any("▁" in piece.lstrip("▁") for piece in pieces if not piece.startswith(APART)):
        return False
    return _normalizes_as_ours(_state(backend.normalizer)) and _cuts_as_ours(_state(backend.pre_tokenizer), pieces)


def _normalizes_as_ours(state: dict[str, Any]) -> bool:
    """Tell whether the steps are those of `tokenizer_from_spm`, which make one space of several and leave none at the edges."""
    steps = state.get("normalizers", [])
    maps = [base64.b64decode(step["precompiled_charsmap"]) for step in steps if step["type"] == "Precompiled"]
    spec = NormalizerSpec(precompiled_charsmap=maps[0] if maps else b"", remove_extra_whitespaces=True)
    ours = normalizer_steps(spec)
    if steps[len(steps) - len(ours) :] != [_state(step) for step in ours]:
        return False
    before = steps[: len(steps) - len(ours)]
    return before in ([], [_state(normalizers.Lowercase())]) or any(
        before == [_state(step) for step in xlnet_steps(keep_accents=keep)] for keep in (True, False)
    )


def _cuts_as_ours(state: dict[str, Any], pieces: dict[str, int]) -> bool:
    """Tell whether every word gets its `▁`, and a text is cut only inside what reads like a special token without spaces."""
    parts = state.get("pretokenizers", [])
    if [part["type"] for part in parts] != ["Metaspace", "Split"]:
        return False
    space, split = parts
    cuts = split["pattern"].get("Regex", "").split("|")
    names = [re.sub(r"\\(.)", r"\1", cut.replace("(?=", "").removesuffix(")")) for cut in cuts]
    plain = all(name in pieces and not re.search(r"[\s▁|()]", name) for name in names)
    return plain and (space["prepend_scheme"], space["split"], split["behavior"]) == ("always", False, "MergedWithPrevious")


def _state(part: Any) -> dict[str, Any]:
    """Return how tokenizer.json writes a part of a tokenizer, {} for none."""
    return json.loads(part.__getstate__()) if part is not None else {}
