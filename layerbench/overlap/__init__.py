"""A training step without and with overlap: what is gained, what could be, and what is still waited for."""
