"""Plain text: the final answer of a solution, when two answers are the same, and where steps end.

A package, not one file: the algebra runs as a program of its own (`algebra.py`), and each part stays short.
"""

from outthink.text.equal import canonical, classes, equivalent
from outthink.text.extract import Extraction, final_answer
from outthink.text.steps import StepSplitter, split_steps

__all__ = [
    "Extraction",
    "StepSplitter",
    "canonical",
    "classes",
    "equivalent",
    "final_answer",
    "split_steps",
]
