"""The sample shop: its schema, the loader of the Olist data set, the generator of rows, and the simulation of trade."""
