"""What mypy must refuse: it runs over this file, and finds an ignored error that does not occur unused."""

from alignsam_gym import AlignSAMEnv


def misspelt_and_mistyped_keywords_are_told() -> None:
    AlignSAMEnv(shots=5)
    AlignSAMEnv(shotz=5)  # type: ignore[call-arg]
    AlignSAMEnv(shots="")  # type: ignore[arg-type]
