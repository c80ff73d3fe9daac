"""Builder of the mini UnlearnCanvas: one subject drawn by several artists."""
