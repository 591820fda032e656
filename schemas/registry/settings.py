"""How to reach a schema registry, and what goes wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from schemas.errors import ExpectedError


class RegistrySettings(BaseModel):
    """How to reach a schema registry. `mock://name` is one kept in this process, shared by everyone who says `name`.

    Requests that fail in passing are tried again `retries` times, waiting at random up to `backoff_ms`, doubled each
    time, before `RegistryUnavailable` is raised.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    username: str | None = None
    password: SecretStr | None = None
    ca: Path | None = None
    auto_register: bool = True
    """Whether schemas of ours that the registry does not have are registered; else they are looked up only."""
    timeout_s: float = Field(default=10.0, gt=0)
    retries: int = Field(default=5, ge=0)
    backoff_ms: int = Field(default=200, gt=0)

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "mock") or not parts.netloc:
            raise ValueError("a schema registry's url starts with http://, https:// or mock:// and names a host")
        if "@" in parts.netloc:
            raise ValueError("credentials do not belong in the url: set username and password")
        return url

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together: set both or neither")
        return self


class RegistryError(ExpectedError):
    """The registry refused what we asked of it; the sentence says what to do."""


class RegistryUnavailable(RegistryError):  # noqa: N818 - a state of the world, not a mistake
    """The registry gave no useful answer, after retries: nothing is known about the record that needed it."""

    transient: ClassVar[bool] = True


class RegistryUnusable(RegistryUnavailable):
    """The same, where asking again does not help: the url, the credentials or the rights have to be mended."""

    transient: ClassVar[bool] = False
