"""Attacks on text-to-image models: prompts, seeds and embeddings that bring the forgotten back."""
