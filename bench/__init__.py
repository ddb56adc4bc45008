"""Measures of what the pipeline costs: `make bench` lists them, `make bench NAME=hour` takes one."""
