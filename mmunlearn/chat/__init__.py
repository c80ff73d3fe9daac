"""Language models that are asked in words: a local one or one behind a server; judges and rephrasing use them."""
