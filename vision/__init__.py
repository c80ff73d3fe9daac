"""Image classifiers: handle, benchmarks (MUFAC, MUCAC), methods and metrics of their own."""
