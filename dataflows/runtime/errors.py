"""The first error that ended the flow in this process, noted before the engine can hide it.

With several workers or processes, the engine turns an error in any step into a panic without a cause or a message.
Therefore every callback passed to the engine is wrapped, and an error it raises is noted here first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from threading import Lock
from typing import Any, Protocol, TypeVar

from bytewax.dataflow import Dataflow, Operator

E = TypeVar("E", bound=BaseException)

SOURCE_PART = ("next_batch", "next_awake", "snapshot")  # not `close`: the engine ignores errors raised there
SINK_PART = ("write_batch", "snapshot", "close")
LOGIC = ("on_batch", "on_notify", "on_eof", "notify_at", "snapshot")
BUILDERS = ("list_parts", "build_part", "build")


class Turns(Protocol):
    """Receiver of progress notifications of the flow."""

    def built(self) -> None:
        """Note that a sink was built in this process."""

    def began(self) -> None:
        """Note that a source partition was built in this process."""

    def turned(self) -> None:
        """Note that the engine polled a source partition."""

    def ended(self) -> None:
        """Note that a source partition reached its end."""


class _Slot:
    """Holder of the first error noted; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.error: BaseException | None = None

    def note(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error

    def clear(self) -> None:
        with self._lock:
            self.error = None


_slot = _Slot()


def note(error: E) -> E:
    """Note an error that ends the flow, unless one was noted before, and return it for raising."""
    _slot.note(error)
    return error


def first() -> BaseException | None:
    """Return the first error noted since the last `clear`."""
    return _slot.error


def clear() -> None:
    """Clear the noted error, before a flow starts."""
    _slot.clear()


def watch(flow: Dataflow, turns: Turns | None = None) -> None:
    """Wrap the callbacks of a flow's steps to note their errors and to notify `turns` of progress."""
    for step in _steps(flow.substeps):
        if not getattr(step, "core", False):
            continue
        match type(step).__name__:
            case "input":
                _guard(step.source, BUILDERS, partial(_source_part, turns=turns))  # type: ignore[attr-defined]
            case "output":
                _guard(step.sink, BUILDERS, partial(_sink_part, turns=turns))  # type: ignore[attr-defined]
            case "stateful_batch":
                _replace(step, "builder", _noting(step.builder, _logic))  # type: ignore[attr-defined]
            case "flat_map_batch":
                _replace(step, "mapper", _noting(_whole(step.mapper)))  # type: ignore[attr-defined]
            case _:  # the engine's other operators call none of our code
                pass


def _steps(steps: Iterable[Operator]) -> Iterable[Operator]:
    for step in steps:
        yield step
        yield from _steps(step.substeps)


def _replace(step: Operator, name: str, value: object) -> None:
    object.__setattr__(step, name, value)  # a step is frozen, but every run builds its own


def _source_part(made: Any, *, turns: Turns | None) -> None:
    if hasattr(made, "next_batch"):
        _guard(made, SOURCE_PART)
        if turns is not None:
            turns.began()
            made.next_batch = _turning(made.next_batch, turns)


def _sink_part(made: Any, *, turns: Turns | None) -> None:
    if hasattr(made, "write_batch"):
        _guard(made, SINK_PART)
        if turns is not None:
            turns.built()


def _logic(made: Any) -> None:
    _guard(made, LOGIC)


def _whole(mapper: Callable[[Any], Iterable[Any]]) -> Callable[[Any], list[Any]]:
    """Make a mapper do its work when called, not when the engine iterates over its result."""

    def mapped(batch: Any) -> list[Any]:
        made = mapper(batch)
        return made if type(made) is list else list(made)

    return mapped


def _guard(target: Any, names: Iterable[str], on_made: Callable[[Any], None] | None = None) -> None:
    """Wrap methods of one object in place; the engine looks them up by name at each call."""
    for name in names:
        if (method := getattr(target, name, None)) is not None:
            setattr(target, name, _noting(method, on_made))


def _noting(call: Callable[..., Any], on_made: Callable[[Any], None] | None = None) -> Callable[..., Any]:
    @wraps(call)
    def noted(*args: Any, **kwargs: Any) -> Any:
        try:
            made = call(*args, **kwargs)
            if on_made is not None:
                on_made(made)
        except StopIteration:  # the end of a source, not an error
            raise
        except Exception as error:
            note(error)
            raise
        return made

    return noted


def _turning(next_batch: Callable[[], Any], turns: Turns) -> Callable[[], Any]:
    def turn() -> Any:
        turns.turned()
        try:
            return next_batch()
        except StopIteration:
            turns.ended()
            raise

    return turn
