"""The smallest denoiser and text encoder that the contract checks of benchmarks train."""

TINY = {
    "denoiser": {
        "block_out_channels": (16,), "norm_num_groups": 4, "attention_head_dim": 4, "mid_block_type": None,
        "down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",),
    },
    "text_encoder": {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2},
}  # fmt: skip
