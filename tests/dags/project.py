"""The models in the project's folders, with which the tests compare the DAGs. A project may also have no models."""

from pathlib import Path

from medallion.names import Group, task_id
from medallion.settings import DBT_PROJECT

MODELS = DBT_PROJECT / "models"
INCLUDE = Path(__file__).parents[2] / "include"


def models_in(folder: str) -> list[str]:
    """Return the names of the models in a folder below `models`, sorted."""
    return sorted(path.stem for path in (MODELS / folder).rglob("*.sql"))


# Task group -> its models, for the groups with one task per model.
LAYERS = {
    Group.BRONZE: models_in("bronze"),
    Group.SILVER_MARTS: models_in("silver/marts"),
    Group.GOLD: models_in("gold"),
}
ENTITY_TABLES = models_in("silver/staging")


def tasks_of(group: Group) -> set[str]:
    """Return the task ids that a task group should have: one per model."""
    return {task_id(group, model) for model in LAYERS[group]}
