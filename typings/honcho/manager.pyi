"""The part of honcho that forewarn uses; honcho ships no types of its own."""

from typing import Any, Protocol

KILL_WAIT: float
SYSTEM_PRINTER_NAME: str

class Message:
    name: str
    data: bytes | str

class _Printer(Protocol):
    width: int
    def write(self, message: Message) -> None: ...

class Manager:
    returncode: int | None
    _processes: dict[str, dict[str, Any]]
    def __init__(self, printer: _Printer | None = ...) -> None: ...
    def add_process(self, name: str, cmd: str) -> object: ...
    def loop(self) -> None: ...
