"""The dbt project: its manifest, declarations, contracts and fingerprints."""
