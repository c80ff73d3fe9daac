"""Report: finished runs -> one table beside the paper's, as JSON, Markdown, CSV, LaTeX and one self-contained page."""
