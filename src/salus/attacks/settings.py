"""Types of options that several attacks have: each with its limits and one line of help."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from salus.attacks.ball import NormName
from salus.options import Words

#: The radius of an attack that must be told one, of one that looks for the smallest change, and one that is a count.
Eps = Annotated[float, Field(ge=0, description="radius of the ball, in the units of x")]
LargestEps = Annotated[float | None, Field(ge=0, description="largest change that counts; none for any")]
Places = Annotated[float, Field(ge=0, description="how many pixels, moments or features may change")]
Norm = Annotated[NormName, Field(description="how the size of a change is measured")]

#: Infinite ones stand for data that are not known yet.
Bound = Annotated[float, Field(allow_inf_nan=True)]
Bounds = Annotated[tuple[Bound, Bound], Field(description="lowest and highest value of x")]
Seed = Annotated[int, Field(description="decides every random draw")]
Mask = Annotated[
    Any, Words("true or false for each value of a sample"), Field(description="which values may change; none for all")
]
Units = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...] | None,
    Field(description="size of one unit of each feature of a table, 0 where it is continuous"),
]
Ranges = Annotated[
    tuple[tuple[float, float, Literal[-1, 0, 1]], ...] | None,
    Words("least, most and way of each feature"),
    Field(description="lowest and highest value of each feature of a table, and 1 or -1 where it only rises or falls"),
]
BatchSize = Annotated[int, Field(ge=1, description="samples attacked side by side")]
TimeLimit = Annotated[float | None, Field(gt=0, description="most seconds for all samples together")]
Queries = Annotated[int | None, Field(ge=1, description="most forward passes a sample; none for what the attack takes")]

Steps = Annotated[int, Field(ge=1, description="how many steps it takes")]
Restarts = Annotated[int, Field(ge=1, description="how many starts it takes")]
Targets = Annotated[
    int | None, Field(ge=1, description="how many other classes are tried in turn; none for all at once")
]
Candidates = Annotated[int, Field(ge=1, description="how many classes are looked at, those nearest in margin")]
RandomStart = Annotated[bool, Field(description="begin at a random point, not at x")]
EarlyStop = Annotated[bool, Field(description="let each sample go as soon as it has fallen")]
ScheduledQueries = Annotated[int, Field(ge=1, description="most queries a sample; its schedule is scaled to them")]
