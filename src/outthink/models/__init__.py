"""Models: load a directory, run packed passes over a cache."""

from outthink.models.base import Loaded, Model, ModelConfig
from outthink.models.errors import ModelError
from outthink.models.loader import load
from outthink.models.tokenizer import Detokenizer, Tokenizer

__all__ = ["Detokenizer", "Loaded", "Model", "ModelConfig", "ModelError", "Tokenizer", "load"]
