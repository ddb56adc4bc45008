"""The dbt project as the other parts see it: its manifest and contracts."""
