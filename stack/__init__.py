"""The engines the pipeline runs on, and the command line that starts, fills and runs them."""
