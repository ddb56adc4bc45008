"""What Airflow loads from this folder: the listener that writes the audit."""

from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin

from medallion.run.attempts import AttemptListener


class MedallionPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "medallion"
    listeners: ClassVar = [AttemptListener()]
