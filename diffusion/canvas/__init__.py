"""UnlearnCanvas on disk and in words: lists, prompts, readers, requests, answer set."""
