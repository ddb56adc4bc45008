"""What the DAGs are made of: window, lease, audit, publish, and how each engine is asked."""
