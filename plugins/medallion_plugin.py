"""What Airflow loads from this folder: the listener that writes the audit."""

from airflow.plugins_manager import AirflowPlugin

from medallion.audit import TryListener


class MedallionPlugin(AirflowPlugin):
    name = "medallion"
    listeners = [TryListener()]
