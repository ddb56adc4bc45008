"""Files that the launcher writes: the models of a source table, and a project without the sample."""
