"""Benchmarks of the pipeline. `make bench` lists them, `make bench NAME=hour` runs one of them."""
