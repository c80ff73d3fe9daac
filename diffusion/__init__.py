"""Text-to-image diffusion models that forget: handle over diffusers pipelines, sampler, benchmarks, methods, metrics."""
