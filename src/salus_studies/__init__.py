"""How papers and questions of our own were worked through: a room a study, all on one frame.

Salus finds a study by its name here, and never imports this package by a statement: it is no part of what is installed.
"""

#: Where the object of each study lies, by the study's name on the command line.
STUDIES = {
    "attacks": "salus_studies.attacks.study:STUDY",
    "capacity": "salus_studies.capacity.study:STUDY",
    "defences": "salus_studies.defences.study:STUDY",
    "ecg-atk-gan": "salus_studies.ecg_atk_gan.study:STUDY",
    "heartbeats": "salus_studies.heartbeats.study:STUDY",
    "i-defender": "salus_studies.i_defender.study:STUDY",
    "lesions": "salus_studies.lesions.study:STUDY",
    "measured": "salus_studies.measured.study:STUDY",
    "multimagnet": "salus_studies.multimagnet.study:STUDY",
    "queries": "salus_studies.queries.study:STUDY",
    "skin-lesion": "salus_studies.skin_lesion.study:STUDY",
}
