"""Each split of a task has demo rows."""

from debft.data.sources.demo import languages, pairs, questions
from debft.data.sources.table import DataTable
from debft.tasks import QuestionAnswering, Split, Task


def table(task: Task, split: Split) -> DataTable:
    """Make the demo rows of a split, labels balanced. A split that ends in a language, as `validation.fr`, has XNLI's rows."""
    path = f"demo/{task.name}/{split.name}"
    if isinstance(task, QuestionAnswering):
        count = questions.TRAIN_ROWS if split is task.train else questions.DEV_ROWS
        return DataTable(
            columns=questions.rows(split.name, count, unanswerable=task.unanswerable), path=path, lines=range(1, count + 1)
        )
    rows = languages.rows(split.name) if split.name.rpartition(".")[2] in languages.LANGUAGES else pairs.rows(task, split)
    columns = dict(zip((*task.text_keys, "label"), map(list, zip(*rows, strict=True)), strict=True))
    return DataTable(columns=columns, path=path, lines=range(1, len(rows) + 1))
