"""Options that several networks have, declared once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, description="width of the hidden layer")]
Widths = Annotated[tuple[Count, ...], Field(min_length=1, description="channels of each stage, joined by +")]
Hidden = Annotated[tuple[Count, ...], Field(min_length=1, description="width of each hidden layer, joined by +")]
Kernels = Annotated[
    tuple[Count, ...], Field(min_length=1, description="samples that a stage's two convolutions see, joined by +")
]
Dropout = Annotated[float, Field(ge=0, lt=1, description="share of the values that training drops")]
