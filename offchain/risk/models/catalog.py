"""The models by name: `requirement(book, name)` margins a book by any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType

from offchain.risk.book import Book
from offchain.risk.models import ballast, deribit, derive_book, okx, paradex, span, standard
from offchain.risk.models.result import ModelError, Part, Requirement

__all__ = ["MODELS", "Model", "ModelError", "Part", "Requirement", "requirement"]


@dataclass(frozen=True)
class Model:
    """name : as commands take it. source : of its formulas and numbers. margin : of a book. parameters : for tables."""

    name: str
    source: str
    margin: Callable[[Book], Requirement]
    parameters: Callable[[], list[tuple[str, str]]]


def _model(module: ModuleType) -> Model:
    return Model(module.NAME, module.SOURCE, module.margin, module.parameters)


MODELS: Mapping[str, Model] = MappingProxyType(
    {m.NAME: _model(m) for m in (ballast, span, deribit, derive_book, paradex, okx, standard)}
)


def requirement(book: Book, model: str) -> Requirement:
    """Margin of a book under a model, with its default parameters.

    Raises
    ------
    ModelError
        There is no such model, or it cannot margin this book: the message says why.
    """
    if model not in MODELS:
        raise ModelError(f"unknown model {model!r}: choose one of {', '.join(MODELS)}")
    return MODELS[model].margin(book)
