"""Pages that explain predictions, written beside a run by whoever predicts."""

from __future__ import annotations

from pathlib import Path

from annotation.store import Store
from models.datasets.releases import open_training_release
from models.prediction.attention_places import annotated_shares
from models.prediction.explanations import write_explanation
from models.prediction.labelled_examples import LabelledExamples, labelled_examples
from models.prediction.predictor import Predicted, Predictor
from models.prediction.work_order import Explain, WorkOrder
from models.slide_image import SlideImage

__all__ = ["Explaining"]


class Explaining:
    """Writes the page of each slide.

    Raises
    ------
    InputError, TileError
        The features are not those that the model was trained with.
    """

    def __init__(self, order: WorkOrder, explain: Explain, store: Store, predictor: Predictor):
        self._explain, self._store, self._encoder = explain, store, predictor.encoder
        self._models = {
            member.name: trained.description
            for member, trained in zip(order.members, predictor.members, strict=True)
        }
        self._examples = self._labelled(predictor)

    def write(self, image: SlideImage, predicted: Predicted) -> Path:
        """Write a slide's page.

        Raises
        ------
        SlideError, TileError
            The slide can't be read any more.
        """
        annotated = None
        if self._explain.release is not None:
            with self._store.reading() as session:
                release = open_training_release(session, self._explain.release)
                annotated = annotated_shares(release, predicted)
        return write_explanation(
            self._explain.folder,
            image,
            predicted,
            self._models,
            encoder=self._encoder,
            annotated=annotated,
            examples=self._examples,
        )

    def _labelled(self, predictor: Predictor) -> LabelledExamples | None:
        if self._explain.features is None:
            return None
        described = predictor.members[0].description
        with self._store.reading() as session:
            release = open_training_release(session, described.release)
            return labelled_examples(release, self._explain.features, described)
