"""The config.json of a model tells how many tokens it has positions for."""

from typing import Any

# transformers' names for the number of positions, the first that a configuration has.
NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
# Types whose positions are relative unless `position_biased_input` says otherwise, and what they take where it is not given.
RELATIVE = {"deberta-v2": True, "deberta": True, "xlnet": False}
# Types that count positions from the padding's id + 1, so that the first rows of the table are never used by a token.
# Source: transformers 5.23, create_position_ids_from_input_ids in modeling_<type>.py (modeling_esm.py, modeling_mpnet.py, ...).
BEHIND_THE_PADDING = (
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
# Their padding where config.json names none. Source: transformers 5.23, configuration_<type>.py; modeling_mpnet.py takes no other.
PADDING_ID, PADDING_IDS = 1, {"lilt": 0, "markuplm": 0}


def longest_input(config: dict[str, Any]) -> int | None:
    """Return how many tokens the model has positions for; None where positions are relative.

    config: the content of config.json. Where it leaves the number out, transformers' default for the type counts.
    """
    kind = config["model_type"]
    if kind in RELATIVE and not config.get("position_biased_input", RELATIVE[kind]):
        return None
    positions = next((config[name] for name in NAMES if isinstance(config.get(name), int)), None)
    if positions is None:
        positions = _default(kind)
    if positions is None or kind not in BEHIND_THE_PADDING or not _has_table(kind, config):
        return positions
    padding = None if kind == "mpnet" else config.get("pad_token_id")
    return positions - (PADDING_IDS.get(kind, PADDING_ID) if padding is None else padding) - 1


def _has_table(kind: str, config: dict[str, Any]) -> bool:
    """Return whether positions are looked up in a table; ESM's later models turn their vectors instead, and count from 0."""
    return kind != "esm" or config.get("position_embedding_type", "absolute") == "absolute"


def _default(kind: str) -> int | None:
    """Return transformers' default number of positions for this type; None where it has no such number."""
    from transformers import CONFIG_MAPPING  # takes seconds, and config.json gives the number nearly always

    known = CONFIG_MAPPING[kind]().to_dict() if kind in CONFIG_MAPPING else {}
    return next((known[name] for name in NAMES if isinstance(known.get(name), int)), None)
