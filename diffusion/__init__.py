"""Text-to-image diffusion models: handles, sampler, methods, UnlearnCanvas and its evaluation."""
