"""One module a model family: how it encodes prompts and predicts noise or velocity."""
