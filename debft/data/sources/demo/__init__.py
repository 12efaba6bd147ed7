"""The demo is built-in rows for every task, with a tokenizer and a tiny DeBERTa-v2 to learn them, all made here and seeded."""

from debft.data.sources.demo.model import MODEL_NAME, model_directory
from debft.data.sources.demo.pairs import ANIMALS, DEV_ROWS, SLOTS, TRAIN_ROWS
from debft.data.sources.demo.rows import table

__all__ = ["ANIMALS", "DEV_ROWS", "MODEL_NAME", "SLOTS", "TRAIN_ROWS", "model_directory", "table"]
