"""Metrics of their own for vision-language models; text metrics are in the core."""
