"""Vision-language models: handle, benchmarks (FIUBench, MMUBench, SafeEraser …), methods and metrics of their own."""
