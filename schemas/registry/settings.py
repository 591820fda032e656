"""Settings of a schema registry, and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from schemas.errors import ExpectedError


class RegistrySettings(BaseModel):
    """Settings of a schema registry. `mock://name` is a registry in this process, shared by all users of `name`.

    Requests that fail temporarily are retried `retries` times before `RegistryUnavailable` is raised. The wait is
    random, up to `backoff_ms`, doubled each time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    username: str | None = None
    password: SecretStr | None = None
    ca: Path | None = None
    auto_register: bool = True
    """If true, schemas of ours that the registry lacks are registered; otherwise they are only looked up."""
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
    """The registry refused a request of ours; the sentence states what to do."""


class RegistryUnavailable(RegistryError):  # noqa: N818 - a temporary state, not a mistake
    """The registry gave no useful answer, after retries: nothing is known about the record that needed it."""

    transient: ClassVar[bool] = True


class RegistryUnusable(RegistryUnavailable):
    """The registry gave no useful answer, and retries cannot help: correct the url, the credentials or the rights."""

    transient: ClassVar[bool] = False
