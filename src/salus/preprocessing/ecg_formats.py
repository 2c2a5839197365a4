"""The formats that recorders of ECGs write, and how far each reader of them was checked.

A format is read by default where what an independent program wrote in it, or an authentic file that an independent
program reads, came out equal to the original within one step of the recorder (``benchmarks/ecg_formats.py``). Others
are read where :data:`VARIABLE` names them, and what was read so is said to be unverified.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from salus.errors import DataError, nearest

#: Environment variable that names the unverified formats to read, comma-separated.
VARIABLE = "SALUS_UNVERIFIED_FORMATS"


@dataclass(frozen=True)
class EcgFormat:
    """A format of ECG files.

    Attributes:
        name: by which it is asked for.
        words: what it is, for sentences.
        parser: who reads it: a class of ecgdatakit's.
        suffixes: that its files end in.
        most_bytes: of a file that is read; a hostile one of that size is done with in seconds.
        checked: by what it was checked; "" where nothing independent could be had.
    """

    name: str
    words: str
    parser: str
    suffixes: tuple[str, ...]
    most_bytes: int
    checked: str = ""


FORMATS = (
    EcgFormat("edf", "EDF", "EDFParser", (".edf",), 2**28, "written by pyEDFlib"),
    EcgFormat("hl7-aecg", "HL7 annotated ECG", "HL7aECGParser", (".xml",), 2**23, "written by BioSig"),
    EcgFormat(
        "scp-ecg",
        "SCP-ECG",
        "SCPECGParser",
        (".scp",),
        3 * 2**17,
        "written after EN 1064 by Salus's tests, and read alike by BioSig",
    ),
    EcgFormat("ishne", "ISHNE Holter", "ISHNEHolterParser", (".ecg", ".ishne"), 2**28, "written by ishneholterlib"),
    EcgFormat(
        "philips-xml",
        "Philips Sierra XML",
        "SierraXMLParser",
        (".xml",),
        2**20,
        "an authentic file of SPxml's, read alike by sierraecg",
    ),
    EcgFormat(
        "mfer",
        "MFER",
        "MFERParser",
        (".mwf", ".mfer", ".mfr"),
        2**26,
        "written after ISO 22077-1 by Salus's tests, and read alike by BioSig",
    ),
    EcgFormat("muse-xml", "GE MUSE XML", "GEMuseXMLParser", (".xml",), 2**22),
    EcgFormat("mortara-xml", "Mortara ELI XML", "MortaraEL250Parser", (".xml",), 2**22),
    EcgFormat("kardia-json", "AliveCor Kardia JSON", "AliveCorKardiaParser", (".json",), 2**22),
)

#: What ecgdatakit reads, and Salus does not: name -> why.
LEFT_OUT = {
    "XLEParser": "XLE, whose files do not say their sampling rate",
    "EDANARCHolterParser": "EDAN ARC, which its reader guesses from a single file",
}

SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)


def asked_for() -> frozenset[str]:
    """Name the unverified formats that are to be read.

    Raises:
        DataError: one of them is none.
    """
    words = [word.strip() for word in os.environ.get(VARIABLE, "").split(",") if word.strip()]
    known = [each.name for each in FORMATS if not each.checked]
    for word in words:
        if word not in known:
            raise DataError(f"{VARIABLE} names the format {word!r}; {nearest(word, known)}")
    return frozenset(words)
