"""Terms of the data sets, in short; the owner's page decides."""

_TERMS = {
    "quickstart": "rendered from models under CC BY 3.0 and CC0; see data/quickstart/NOTICE.txt",
    "quickstart_veri": "rendered from models under CC BY 3.0 and CC0; see data/quickstart_veri/NOTICE.txt",
    "veri776": "by e-mail to its authors, for research (vehiclereid.github.io/VeRi)",
    "vehicleid": "on application, for research (pkuml.org, PKU-VehicleID)",
    "veri_wild": "non-commercial research and education (github.com/PKU-IMRE/VERI-Wild)",
    "veri_wild2": "non-commercial research and education (github.com/PKU-IMRE/VERI-Wild)",
    "cityflow": "with a signed agreement, for the challenge and research (aicitychallenge.org)",
    "compcars": "with a signed agreement, for non-commercial research (mmlab.ie.cuhk.edu.hk/datasets/comp_cars)",
    "dn_wild": "its images are VERI-Wild 2.0's: non-commercial research and education (github.com/PKU-IMRE/VERI-Wild)",
}


def terms_of(name: str) -> str:
    """Terms of a data set by its name.

    Args:
        name: As its configuration has it; `veri_wild_3000` is of `veri_wild`.

    >>> terms_of("vehicleid_800")
    'on application, for research (pkuml.org, PKU-VehicleID)'
    >>> terms_of("my_cars")
    "not known here; ask the data's owner"
    """
    fitting = [known for known in _TERMS if name == known or name.startswith(f"{known}_")]
    return _TERMS[max(fitting, key=len)] if fitting else "not known here; ask the data's owner"
