"""The mathematics of the diffusion process: schedules, predictions, samplers, guidance, loss."""
