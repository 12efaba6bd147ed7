"""A task is of one of two kinds: it labels or scores texts, or it answers questions."""

from debft.tasks.classification import TextClassification
from debft.tasks.squad import QuestionAnswering

Task = TextClassification | QuestionAnswering
