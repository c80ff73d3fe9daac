"""Text-to-image models that forget: handle over diffusers pipelines, sampler, benchmarks, methods, metrics."""
