"""Where steps end. Depends on the text alone, never on how tokens or chunks cut it."""

from __future__ import annotations


class StepSplitter:
    """Cuts text that arrives in chunks into steps, each with the separator that closed it.

    A step ends at the first separator after it has content; separators and blanks before that belong to it:

        "".join(all that feed() returned) + tail == everything fed        whatever the chunks were
    """

    def __init__(self, separator: str = "\n") -> None:
        if not separator:
            raise ValueError("separator must not be empty")
        self.separator = separator
        self._buffer = ""
        self._content = 0  # everything in the buffer before this is blanks and separators
        self._searched = 0  # no separator starts before this

    @property
    def tail(self) -> str:
        """The step that no separator has closed yet, exactly as written; may be blank."""
        return self._buffer

    @property
    def has_content(self) -> bool:
        """Whether the tail is the beginning of a step rather than blanks."""
        return bool(self._buffer[self._content :].strip())

    def feed(self, chunk: str) -> list[str]:
        """Take the next piece of text; return the steps that it closed."""
        self._buffer += chunk
        closed = []
        while (at := self._buffer.find(self.separator, self._searched)) >= 0:
            end = at + len(self.separator)
            if self._buffer[self._content : at].strip():
                closed.append(self._buffer[:end])
                self._buffer = self._buffer[end:]
                end = 0
            self._content = self._searched = end
        # The beginning of a separator may be the last thing in the buffer.
        self._searched = max(self._content, len(self._buffer) - len(self.separator) + 1)
        return closed


def split_steps(text: str, separator: str = "\n") -> list[str]:
    r"""Cut `text` into steps, one a line, or one a paragraph with separator="\n\n"; blank ones are no steps.

    Steps keep their exact text, separators included: "".join(split_steps(text)) == text unless all is blank.
    """
    splitter = StepSplitter(separator)
    steps = splitter.feed(text)
    if splitter.has_content:
        steps.append(splitter.tail)
    elif steps:
        steps[-1] += splitter.tail
    return steps
