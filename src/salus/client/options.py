"""How an endpoint may be asked, declared once for audits, attacks and Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from salus.declared import DeclaredModel
from salus.errors import OptionError
from salus.options import Repeated, options_of


class EndpointOptions(DeclaredModel):
    """How an endpoint may be asked.

    Attributes:
        allow_host: hosts beside this machine that may be asked; who names one has its owner's permission.
        endpoint_queries: most inputs that it is asked about in all, by every attack and every run in the same folder.
        rate: most inputs a second.
        token_file: file with the token; by default what ``SALUS_TOKEN`` says.
        ca_file: certificates of authorities (PEM) that are trusted instead of the usual ones.
    """

    allow_host: Annotated[
        tuple[str, ...],
        Repeated(),
        Field(description="another host than this machine that may be asked, with its owner's written permission"),
    ] = ()
    endpoint_queries: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="most inputs that an endpoint is asked about, by all attacks and runs together"),
    ] = None
    rate: Annotated[
        Annotated[float, Field(gt=0)] | None, Field(description="most inputs a second that an endpoint is asked about")
    ] = None
    token_file: Annotated[
        Path | None, Field(description="file with the token for an endpoint, instead of SALUS_TOKEN")
    ] = None
    ca_file: Annotated[
        Path | None, Field(description="certificates (PEM) of authorities that an https endpoint is checked by")
    ] = None

    @property
    def endpoint(self) -> EndpointOptions:
        """These options alone, of a plan that has others."""
        return EndpointOptions(**{option.name: getattr(self, option.name) for option in options_of(EndpointOptions)})

    def refuse_without_endpoint(self, model: str) -> None:
        """Refuse what only an endpoint has a use for.

        Raises:
            OptionError: an option was given.
        """
        for option in options_of(EndpointOptions):
            if getattr(self, option.name) != option.default:
                name = option.name.replace("_", "-")
                raise OptionError(f"--{name} goes with an endpoint (--model http://...), not with {model}.")
