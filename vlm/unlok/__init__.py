"""UnLOK-VQA: prompts, fact tables and the writer of its mini edition."""
