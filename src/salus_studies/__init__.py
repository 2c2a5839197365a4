"""How papers and questions of our own were worked through: a room a study, all on one frame.

Salus finds a study by its name here, and never imports this package by a statement: it is no part of what is installed.
"""

#: Where the object of each study lies, by the study's name on the command line.
STUDIES = {
    "ecg-atk-gan": "salus_studies.ecg_atk_gan.study:STUDY",
    "i-defender": "salus_studies.i_defender.study:STUDY",
    "multimagnet": "salus_studies.multimagnet.study:STUDY",
    "skin-lesion": "salus_studies.skin_lesion.study:STUDY",
}
