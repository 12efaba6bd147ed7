"""The parameters of a model are counted without its weights."""

from debft.models.files import ModelFiles
from debft.models.json_files import load_config, refusal_explained


def count_parameters(files: ModelFiles) -> tuple[int, int]:
    """Return (parameters of the encoder with its embeddings, parameters of the backbone), without building any weights.

    The backbone is the encoder without the tables that look up words, positions and segments; the table of relative positions
    belongs to it, as in the cards' figures.
    """
    # What a reproduction costs is shown where nothing else needs torch.
    import torch
    from transformers import AutoModel

    config = load_config(files.path)
    with torch.device("meta"), refusal_explained(files.path, "transformers cannot build this model"):
        model = AutoModel.from_config(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    looked_up = [name for name in sizes if "embedding" in name and "rel_embedding" not in name]
    return sum(sizes.values()), sum(sizes.values()) - sum(sizes[name] for name in looked_up)
