"""The wheel, installed elsewhere: everything that the commands need must be in it."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TINY = [
    "dataset=shapes", "episodes=1", "env.num_envs=2", "env.shots=2", "env.max_steps=2", "srm.width=8", "policy.width=8",
    "agent.n_epochs=1", "agent.batch_size=4", "evaluate.limit=1", "evaluate.batch_size=1", "evaluate.filmstrips=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A virtual environment with the wheel, in which this one's packages are found too."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = place / "source"  # setuptools leaves its build folder beside the source
    names = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in names.stdout.decode().split("\0")[:-1]:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*pip, "wheel", str(source), "--no-deps", "--wheel-dir", str(place)], check=True)
    [wheel] = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "env")], check=True)
    python = place / "env/bin/python"
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    (Path(found.stdout.strip()) / "outer.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run(
        [*pip, "--python", str(python), "install", "--no-deps", "--ignore-installed", str(wheel)], check=True
    )
    return place


@pytest.mark.slow
def test_the_commands_work_outside_the_checkout(installed):
    elsewhere = installed / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def alignsam(*arguments):
        command = [installed / "env/bin/alignsam", *arguments]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "predict" in alignsam("--help")
    alignsam("train", *TINY, "hydra.run.dir=run")
    assert json.loads((elsewhere / "run/metrics.json").read_text())["timesteps"] == 4
    alignsam("export", "run", "agent.alignsam")
    cv2.imwrite(str(elsewhere / "photo.png"), np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8))
    alignsam("predict", "agent.alignsam", "photo.png", "--out", "masks")
    assert cv2.imread(str(elsewhere / "masks/photo.png"), cv2.IMREAD_UNCHANGED).shape == (50, 80)
    python = [
        installed / "env/bin/python",
        "-c",
        "from alignsam_gym import agents, experiments; print(experiments.__file__)",
    ]
    done = subprocess.run(python, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
    assert str(installed) in done.stdout
