"""The plugin that Airflow loads from this folder: the listener that records attempts."""

from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin

from medallion.run.attempts import AttemptListener


class MedallionPlugin(AirflowPlugin):
    """Register the listener."""

    name = "medallion"
    listeners: ClassVar = [AttemptListener()]  # type: ignore[misc]  # the base class declares no class variable
