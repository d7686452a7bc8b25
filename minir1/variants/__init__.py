"""Other losses of the GRPO family, with the core loss's signature."""
