"""The silver staging layer: from the row versions in bronze to typed, checked rows, for any table."""
