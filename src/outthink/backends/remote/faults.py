"""What goes wrong with a request, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Mapping

from outthink.core.errors import BadInput, OutthinkError, PromptTooLong

FIRST, MOST = 0.25, 20.0  # seconds before the second attempt, doubled each time; a wait at most


QUOTA = "insufficient_quota"  # what OpenAI calls a bill that has not been paid

SENT_AGAIN = "sent again"  # what a receipt calls it


class EndpointError(OutthinkError):
    """An endpoint did not serve a request, and trying again did not help; the message says what happened."""


class Fault(Exception):
    """One attempt failed.

    `error` is raised when there is no further attempt. `is_final`: another attempt cannot help. `is_busy`: it
    has too much to do. `is_down`: it may be gone. `may_bill`: it may charge for the attempt.
    """

    def __init__(
        self,
        error: Exception,
        *,
        is_final: bool = False,
        is_busy: bool = False,
        is_down: bool = False,
        may_bill: bool = True,
        wait: float = 0.0,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_final = is_final
        self.is_busy = is_busy
        self.is_down = is_down
        self.may_bill = may_bill
        self.wait = wait


def of_status(status: int, message: str, headers: Mapping[str, str], where: str) -> Fault:
    """The fault that a status code stands for."""
    said = f"{where} answered {status}: {' '.join(message.split())[:300]}"
    if status == 429 and QUOTA in message:
        error = BadInput(f"{said}; its quota is used up: waiting does not help")
        return Fault(error, is_final=True, may_bill=False)
    if status == 429 or status == 503:
        wait = retry_after(headers.get("retry-after", ""))
        return Fault(EndpointError(said), is_busy=True, may_bill=False, wait=wait)
    if status == 408 or status >= 500:
        return Fault(EndpointError(said), is_down=status != 500)
    if status in (401, 403):
        return Fault(BadInput(f"{said}; give a key: OPENAI_API_KEY or OUTTHINK_API_KEY"), is_final=True)
    if status in (400, 413, 422) and is_about_length(message):
        return Fault(PromptTooLong(said), is_final=True, may_bill=False)
    return Fault(BadInput(said), is_final=True, may_bill=False)


def is_about_length(message: str) -> bool:
    """Whether an error message complains of a context that is too long."""
    lower = message.lower()
    return "context" in lower and any(
        word in lower for word in ("length", "size", "window", "exceed", "long")
    )


def retry_after(header: str) -> float:
    """Seconds of a Retry-After header; 0 for none or a date."""
    try:
        return min(max(float(header), 0.0), MOST)
    except ValueError:
        return 0.0


def backoff(attempt: int, chance: float, wait: float = 0.0) -> float:
    """Seconds before the next attempt: what was asked for, else full jitter up to FIRST * 2^attempt."""
    return max(wait, chance * min(MOST, FIRST * 2.0**attempt)) + (0.1 * chance if wait else 0.0)


def sent_again(what: str, fault: Fault) -> str:
    """The note for a receipt; `what` says when the request broke."""
    return f"a request broke {what} and was sent again; it may be billed twice: {fault.error}"
