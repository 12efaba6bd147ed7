"""These tasks are extractive question answering: the answer is a span of the context, or, in SQuAD 2.0, there is none.

Source of row counts: the dataset cards of rajpurkar/squad_v2 and rajpurkar/squad.
"""

from dataclasses import dataclass

from debft.tasks.task import BaseTask, BenchmarkFiles, Split


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(BaseTask):
    """A task that answers questions by a span of their context."""

    text_keys: tuple[str, ...] = ("question", "context")
    label_key: str = "answers"
    metrics: tuple[str, ...] = ("f1", "exact_match")
    unanswerable: bool
    """Whether a question may have no answer in its context."""

    @property
    def gives(self) -> str:
        """The outputs of the model in words, for the help text."""
        return "a span of the context" + (" or no answer" if self.unanswerable else "")


SQUAD = (
    QuestionAnswering(
        name="squad2",
        title="SQuAD 2.0",
        dataset="rajpurkar/squad_v2",
        revision="3ffb306f725f7d2ce8394bc1873b24868140c412",
        unanswerable=True,
        train=Split("train", "squad_v2", "train", 130_319),
        evals=(Split("validation", "squad_v2", "validation", 11_873),),
        benchmark_files=tuple(
            BenchmarkFiles(directory, {"train": "train-v2.0.json", "validation": "dev-v2.0.json"}) for directory in ("", "squad2")
        ),
    ),
    QuestionAnswering(
        name="squad",
        title="SQuAD 1.1",
        dataset="rajpurkar/squad",
        revision="7b6d24c440a36b6815f21b70d25016731768db1f",
        unanswerable=False,
        train=Split("train", "plain_text", "train", 87_599),
        evals=(Split("validation", "plain_text", "validation", 10_570),),
        benchmark_files=tuple(
            BenchmarkFiles(directory, {"train": "train-v1.1.json", "validation": "dev-v1.1.json"}) for directory in ("", "squad")
        ),
    ),
)
