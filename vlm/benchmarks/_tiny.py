"""Architecture of the contract checks: pictures of 32 px, a few thousand weights beside the embeddings."""

TINY = {
    "vision": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 16,
    },
    "text": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "max_position_embeddings": 256,
    },
}  # fmt: skip
