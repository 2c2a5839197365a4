"""Studies whose pages stand in the repository without the results that they were written from, and why."""

_GONE = "the folder of the run behind it is gone, and at that time no results were kept in the repository"

UNSTORED = {
    "multimagnet": _GONE,
}
