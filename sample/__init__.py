"""The reference shop: schema, loader of the Olist data set, generator, and steady trade."""
