"""The published configurations of the models, as far as they move a size or a speed. No weights are needed for either."""

V2 = {
    "model_type": "deberta-v2",
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "max_relative_positions": -1,
    "position_biased_input": False,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "vocab_size": 128100,
}
BASE = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
# Source: the config.json of each model on the hub, as far as it moves a size.
CONFIGS = {
    "deberta-v3-xsmall": V2 | {"num_hidden_layers": 12, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "deberta-v3-small": V2 | BASE | {"num_hidden_layers": 6},
    "deberta-v3-base": V2 | BASE,
    "deberta-v3-large": V2 | {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096},
    "mdeberta-v3-base": V2 | BASE | {"vocab_size": 251000},
    "deberta-v2-xxlarge": V2
    | {
        "num_hidden_layers": 48,
        "hidden_size": 1536,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
        "conv_kernel_size": 3,
        "conv_act": "gelu",
    },
    "deberta-base": BASE
    | {
        "model_type": "deberta",
        "vocab_size": 50265,
        "relative_attention": True,
        "type_vocab_size": 0,
        "pos_att_type": ["c2p", "p2c"],
        "position_biased_input": False,
        "max_position_embeddings": 512,
    },
    "roberta-base": BASE | {"model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
    "xlm-roberta-base": BASE
    | {"model_type": "xlm-roberta", "vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1},
    "electra-base": BASE | {"model_type": "electra", "vocab_size": 30522, "embedding_size": 768},
    "xlnet-base": {"model_type": "xlnet", "vocab_size": 32000, "d_model": 768, "n_layer": 12, "n_head": 12, "d_inner": 3072},
    "all-minilm-l6-v2": {
        "model_type": "bert",
        "vocab_size": 30522,
        "num_hidden_layers": 6,
        "hidden_size": 384,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
}
