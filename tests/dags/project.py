"""The models of the project on disk, which the DAGs are compared with: any number of them, also none."""

from pathlib import Path

from medallion.names import Group, task_id
from medallion.settings import DBT_PROJECT

MODELS = DBT_PROJECT / "models"
INCLUDE = Path(__file__).parents[2] / "include"


def models_in(folder: str) -> list[str]:
    """Return the models of a folder below `models`, by name."""
    return sorted(path.stem for path in (MODELS / folder).rglob("*.sql"))


# The groups with a task per model, and those models.
LAYERS = {
    Group.BRONZE: models_in("bronze"),
    Group.SILVER_MARTS: models_in("silver/marts"),
    Group.GOLD: models_in("gold"),
}
ENTITY_TABLES = models_in("silver/staging")


def tasks_of(group: Group) -> set[str]:
    """Return the ids of the tasks that a group of models should have."""
    return {task_id(group, model) for model in LAYERS[group]}
