"""What a run has to say of a model that it trained."""

from dataclasses import dataclass
from typing import Any

from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.weights import Weights

from .outlook import Outlook, look_ahead


@dataclass(frozen=True)
class TrainedModel:
    """
    Which weights of which run a model has, and the run's records, of which its card is made.

    Attributes:
        recipe: what it was trained by.
        history: rows of metrics.jsonl, one of them for the weights' epoch.
        sessions: of environment.json: what each start of the run ran on.
        weights: the epoch they come from, and whether they are averaged.
    """

    recipe: TrainingArguments
    history: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    weights: Weights

    @property
    def row(self) -> dict[str, Any]:
        """Of metrics.jsonl, that of the weights' epoch."""
        row = self.weights.row(self.history)
        assert row is not None, "a model is saved when its epoch is in the metrics"
        return row

    @property
    def outlook(self) -> Outlook:
        """How many epochs the run has, by its history, and why."""
        return look_ahead(self.recipe, self.history)

    def result(self, name: str) -> float:
        """One of the weights' columns in the metrics, as `val_top1`."""
        return self.row[self.weights.column(name)]
