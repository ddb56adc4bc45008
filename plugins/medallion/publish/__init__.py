"""The audit of a run, the publication of gold in PostgreSQL, and its roll-back."""
