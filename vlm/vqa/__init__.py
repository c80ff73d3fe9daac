"""VQA data outside the benchmark, read from a local root, so that utility is measured on what nobody unlearned."""
