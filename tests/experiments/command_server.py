"""Carries out commands, each in a process of its own, without the seconds that their imports take.

Each line of the input is a JSON list: the arguments of `alignsam`, and a folder for the files `stdout` and `stderr`.
Each line of the output is the exit status of one.
"""

import gc
import json
import os
import signal
import sys
from pathlib import Path

from alignsam_gym.experiments import baseline, embed, evaluate, report, reproduce, score, summarize, train  # noqa: F401
from alignsam_gym.experiments.cli import app
from alignsam_gym.experiments.pretrain import pretrain_clip, pretrain_sam  # noqa: F401

LONGEST = 600  # seconds


def redirect(folder):
    """No command may read the lines that are meant for the server."""
    for stream, file, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, folder / "stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        os.dup2(os.open(file, flags), stream)


gc.freeze()  # so that no process looks through what it shares with the others, and thereby copies it
for line in sys.stdin:
    arguments, folder = json.loads(line)
    child = os.fork()
    if not child:
        redirect(Path(folder))
        signal.alarm(LONGEST)
        app(arguments, prog_name="alignsam")
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
