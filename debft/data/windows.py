"""Questions with their contexts become windows of token ids that overlap, with the character offsets of every token.

Legend: W windows, which are the sequences of the split, so that S = W; T tokens of all windows; L tokens of one context.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from debft.data.answers import GoldAnswers
from debft.data.encoding import CHUNK, EncodedSplit, Frame, never, set_up
from debft.data.encoding_cache import cached_arrays
from debft.data.examples import Examples
from debft.data.tokens import WordByWord, whole_texts
from debft.runtime.progress import meter

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class EncodedWindows(EncodedSplit):
    """The sequences of a split of questions are windows; those of a question lie side by side.

    labels_S: int64 (W, 2), the first and the last token of the answer, or CLS twice
    truncated: how many contexts take more than one window
    offsets_T2: int32, the characters of the context that a token covers, spaces trimmed; -1 for a token that is not context
    question_W: the number of each window's question, never falling
    cls_W: the place of CLS in each window
    cut_questions: how many questions were cut
    """

    offsets_T2: np.ndarray
    question_W: np.ndarray
    cls_W: np.ndarray
    cut_questions: int

    def groups(self) -> Iterator[tuple[int, range]]:
        """Give each question with its windows."""
        changes = np.flatnonzero(np.diff(self.question_W)) + 1
        for first, end in zip([0, *changes], [*changes, len(self.question_W)], strict=True):
            yield int(self.question_W[first]), range(first, end)

    @property
    def num_cut(self) -> int:
        """Return how many questions are not read whole; contexts always are."""
        return self.cut_questions

    def remarks(self) -> list[str]:
        lines = []
        if self.truncated:
            lines.append(f"{self.truncated:,} contexts take more than one window, {len(self):,} windows in all")
        if self.cut_questions:
            lines.append(f"{self.cut_questions:,} questions were cut")
        return lines


def encode_windows(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    max_seq_length: int,
    doc_stride: int,
    max_question_length: int,
    what: str,
    by_word: Callable[[], bool] = never,
    cached: bool = True,
    show: bool = True,
) -> EncodedWindows:
    """Cut every context into windows of at most `max_seq_length` tokens, the question and special tokens included.

    Neighbouring windows share `doc_stride` tokens of the context. As in run_qa of transformers, a tokenizer that pads in
    front (XLNet's) gets the context first; other than there, a question longer than `max_question_length` tokens is cut at
    its end rather than refused, as BERT's run_squad.py does.
    """
    context_first = tokenizer.padding_side == "left"
    sizes = (max_seq_length, doc_stride, max_question_length)
    arrays = cached_arrays(
        examples,
        tokenizer,
        ["windows", *sizes, context_first],
        lambda: _encode(examples, tokenizer, *sizes, context_first, what, show, by_word()),
        cached=cached,
    )
    windows = EncodedWindows(
        ids_T=arrays["ids"],
        types_T=arrays["types"],
        ends_S=arrays["ends"],
        labels_S=np.zeros((len(arrays["ends"]), 2), np.int64),
        truncated=int(arrays["counts"][0]),
        offsets_T2=arrays["offsets"],
        question_W=arrays["questions"],
        cls_W=arrays["cls"],
        cut_questions=int(arrays["counts"][1]),
    )
    return replace(windows, labels_S=answer_positions(windows, examples.gold_answers))


def answer_positions(windows: EncodedWindows, answers: Sequence[GoldAnswers]) -> np.ndarray:
    """Return the first and the last token of the first gold answer of each window's question, (W, 2).

    CLS twice where there is no answer, or not all of its tokens lie in the window. Characters of it that no token covers, such
    as spaces, do not count. `answers[i]`: ((text, start), ...) of question i.
    """
    positions = np.stack([windows.cls_W, windows.cls_W], axis=1).astype(np.int64)
    begins = np.append(0, windows.ends_S)[:-1]
    for question, group in windows.groups():
        if not answers[question]:
            continue
        text, start = answers[question][0]
        offsets = [windows.offsets_T2[begins[window] : windows.ends_S[window]] for window in group]
        spans = [_overlap(one, start, start + len(text)) for one in offsets]
        edges = [(one[first, 0], one[last, 1]) for one, (first, last) in zip(offsets, spans, strict=True) if first >= 0]
        if not edges:
            continue
        whole = (min(begin for begin, _ in edges), max(end for _, end in edges))
        for window, one, (first, last) in zip(group, offsets, spans, strict=True):
            if first >= 0 and (one[first, 0], one[last, 1]) == whole:
                positions[window] = first, last
    return positions


def _overlap(offsets_L2: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """Return the first and the last token that cover any of the characters `start` to `end`; -1 twice where none does."""
    starts, ends = offsets_L2[:, 0], offsets_L2[:, 1]
    places = np.flatnonzero((ends > starts) & (ends > start) & (starts < end))
    return (int(places[0]), int(places[-1])) if len(places) else (-1, -1)


def unlearnable(windows: EncodedWindows, answers: Sequence[GoldAnswers]) -> list[tuple[int, int]]:
    """Return (question, tokens of its answer) of the questions with an answer that lies whole in no window.

    They would be learned as questions without an answer. 0 tokens: the tokenizer makes nothing of the answer's characters.
    """
    lost, begins = [], np.append(0, windows.ends_S)[:-1]
    for question, group in windows.groups():
        if answers[question] and not any(windows.labels_S[window, 0] != windows.cls_W[window] for window in group):
            text, start = answers[question][0]
            pieces = [windows.offsets_T2[begins[window] : windows.ends_S[window]] for window in group]
            covering = [one[(one[:, 1] > one[:, 0]) & (one[:, 1] > start) & (one[:, 0] < start + len(text))] for one in pieces]
            lost.append((question, len(np.unique(np.concatenate(covering), axis=0))))
    return lost


def _encode(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    max_seq_length: int,
    doc_stride: int,
    max_question_length: int,
    context_first: bool,
    what: str,
    show: bool,
    by_word: bool = False,
) -> dict[str, np.ndarray]:
    backend = set_up(tokenizer)
    tokens_of = WordByWord(backend) if by_word else partial(whole_texts, backend)
    frame = Frame.of(backend, 2)
    room = max_seq_length - frame.num_special
    windows, cut, several = [], 0, 0
    with meter("tokens", len(examples), "questions", show=show) as progress:
        for start in range(0, len(examples), CHUNK):
            chunk = examples.texts[start : start + CHUNK]
            contexts = _unique(backend, [context for _, context in chunk])
            ids_T, lengths_N = tokens_of([question for question, _ in chunk])
            cut += int((lengths_N > max_question_length).sum())
            questions = np.split(ids_T, np.cumsum(lengths_N)[:-1])
            for number, (question_L, (_, context)) in enumerate(zip(questions, chunk, strict=True), start=start):
                ids_L = question_L[:max_question_length]
                pieces = _pieces(len(contexts[context][0]), room - len(ids_L), doc_stride)
                several += len(pieces) > 1
                windows += [(number, *_window(frame, ids_L, contexts[context], piece, context_first)) for piece in pieces]
            progress.advance(len(chunk), what)
    questions, ids, types, offsets = zip(*windows, strict=True)
    last = -1 if context_first else 0
    return {
        "ids": np.concatenate(ids),
        "types": np.concatenate(types),
        "offsets": np.concatenate(offsets),
        "ends": np.cumsum([len(window) for window in ids], dtype=np.int64),
        "questions": np.array(questions),
        "cls": np.array([np.flatnonzero(window == tokenizer.cls_token_id)[last] for window in ids]),
        "counts": np.array([several, cut]),
    }


def _window(
    frame: Frame, question_L: np.ndarray, context: tuple[np.ndarray, np.ndarray], piece: tuple[int, int], context_first: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (ids, types, offsets) of the question with a piece of the context's tokens."""
    begin, end = piece
    texts = [question_L, context[0][begin:end]]
    ids, types = frame.fill(texts[::-1] if context_first else texts)
    first = len(frame.around[0][0]) + (0 if context_first else len(question_L) + len(frame.around[1][0]))
    offsets = np.full((len(ids), 2), -1, dtype=np.int32)
    offsets[first : first + end - begin] = context[1][begin:end]
    return ids, types, offsets


def _unique(backend: "Tokenizer", contexts: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Encode each different context once, as ids (L,) and offsets (L, 2): SQuAD asks several questions of one."""
    different = list(dict.fromkeys(contexts))
    encoded = backend.encode_batch(different, add_special_tokens=False)
    return {text: (np.array(e.ids, dtype=np.int32), trimmed_offsets(e, text)) for text, e in zip(different, encoded, strict=True)}


def trimmed_offsets(encoding: "Encoding", text: str) -> np.ndarray:
    """Return the characters of `text` under each token without spaces at either end, (L, 2) int32; a space alone is empty.

    SentencePiece's tokens take the space in front along, which would begin an answer with it. Where the tokenizer composed
    several characters (a letter and its mark, Hangul), it counts the first alone; here the others belong to the token too.
    """
    starts, ends = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2).T
    is_space, places = np.fromiter(map(str.isspace, text), bool, len(text)), np.arange(len(text) + 1)
    next_begin = np.minimum.accumulate(np.append(np.where(is_space, len(text), places[:-1]), len(text))[::-1])[::-1]
    last_end = np.maximum.accumulate(np.append(0, np.where(is_space, 0, places[1:])))
    starts = np.minimum(next_begin[starts], ends)
    ends = np.maximum(last_end[ends], starts)
    for row in [] if text.isascii() else np.flatnonzero(starts < ends):
        end = ends[row]
        while end < len(text) and not text[end].isascii() and _goes_with_the_one_before(text[end]):
            end += 1
        ends[row] = end
    return np.stack([starts, ends], axis=1).astype(np.int32)


def _goes_with_the_one_before(character: str) -> bool:
    """Tell a combining mark, or a vowel or final of a Hangul syllable."""
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"


def _pieces(length: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Return [start, end) of the windows over `length` tokens, with `room` tokens each, of which neighbours share `overlap`."""
    assert overlap < room, "windows would not move on"
    pieces = [(0, min(room, length))]
    while pieces[-1][1] < length:
        start = pieces[-1][0] + room - overlap
        pieces.append((start, min(start + room, length)))
    return pieces
