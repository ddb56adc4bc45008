"""A run's lease, window, state and attempts."""
