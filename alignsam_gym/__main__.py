"""``python -m alignsam_gym`` is the same as ``alignsam``."""

from alignsam_gym.experiments.cli import main

if __name__ == "__main__":
    main()
