"""From the audit of a run to the tables that BI reads, and back."""
