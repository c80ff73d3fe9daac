"""A LLaVA around SmolLM2-135M-Instruct, whose weights an ordinary package ships: the larger mini model.

`model.name=scratch/smollm2`: the language model is pretrained, the tower is that of mini_tower.py and the
projector new.
Train it with adapters (`model.lora`); about 1.2 s a step of eight answers on two cores.
"""

from typing import Any

import torch

from mmunlearn.chat.packaged import smollm2_folder

IMAGE = "<image>"
# SmolLM2's own turns, for messages whose content is a list of texts and pictures (its own template takes text alone).
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLACES = 8  # rows added to the embedding: the picture's token, and room so that its height stays even


def smollm2_llava(vision: dict[str, Any]) -> tuple[Any, Any]:
    """Model and processor; `vision` are the tower's sizes. Raises UserError when the package is missing."""
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = smollm2_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    text = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    text.resize_token_embeddings(len(tokenizer) + PLACES - len(tokenizer) % PLACES, mean_resizing=False)
    place: Any = tokenizer.convert_tokens_to_ids(IMAGE)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision), text_config=text.config,
        image_token_index=place, vision_feature_layer=-1,
        vision_feature_select_strategy="default", tie_word_embeddings=True,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.tie_weights()
    size = vision["image_size"]
    pictures = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    processor = LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer, patch_size=vision["patch_size"],
        vision_feature_select_strategy="default", num_additional_image_tokens=1, image_token=IMAGE,
        chat_template=TEMPLATE,
    )  # fmt: skip
    return model, processor
