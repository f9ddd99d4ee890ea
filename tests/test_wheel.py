"""What is built and installed elsewhere: one top-level name, with everything that the commands need."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("agents", "conf", "experiments")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
TINY = [
    "dataset=shapes", "episodes=1", "env.num_envs=2", "env.shots=2", "env.max_steps=2", "srm.width=8",
    "srm.final_updates=2", "agent.n_epochs=1", "agent.batch_size=4",
    "evaluate.limit=1", "evaluate.batch_size=1", "evaluate.filmstrips=0",
]  # fmt: skip


def checked(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of_the_checkout():
    listed = checked(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT).split("\0")[:-1]
    return [name for name in listed if (ROOT / name).exists()]


def environment(folder):
    """A virtual environment, in which this one's packages are found too; returns its interpreter."""
    checked([sys.executable, "-m", "venv", "--without-pip", folder])
    python = folder / "bin/python"
    packages = checked([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    (Path(packages) / "outer.pth").write_text(sysconfig.get_path("purelib"))
    return python


def install(python, *what):
    checked([*PIP, "--python", python, "install", "--no-deps", "--ignore-installed", *what])


def outside(folder):
    """Options of a process that does not see the checkout."""
    folder.mkdir(exist_ok=True)
    return {"cwd": folder, "env": {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the checkout, as setuptools leaves its build folder beside the source."""
    folder = tmp_path_factory.mktemp("source")
    for name in files_of_the_checkout():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    checked([*PIP, "install", "--target", folder / "backend", *build["requires"]])
    program = f"import {build['build-backend']} as backend; backend.build_sdist({str(folder)!r})"
    checked([sys.executable, "-c", program], cwd=source, env={**os.environ, "PYTHONPATH": str(folder / "backend")})
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    checked([*PIP, "wheel", sdist, "--no-deps", "--wheel-dir", folder])
    (archive,) = folder.glob("*.whl")
    return archive


@pytest.fixture(scope="module")
def other_agents(tmp_path_factory):
    """A wheel of somebody else's that installs a top-level package `agents`, as the OpenAI Agents SDK does."""
    archive = tmp_path_factory.mktemp("other") / "other_agents-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("agents/__init__.py", "OWNER = 'other'\n")
        file.writestr("agents/pretrained.py", "")
        info = "other_agents-1.0.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: other-agents\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        names = ("agents/__init__.py", "agents/pretrained.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD")
        file.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return archive


@pytest.mark.slow
def test_the_wheel_is_one_top_level_name_with_all_files_of_the_package(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in packed} == {"alignsam_gym"}
    linked = {f"alignsam_gym/{name}" for name in files_of_the_checkout() if name.startswith(LINKED)}
    own = {name for name in files_of_the_checkout() if name.startswith("alignsam_gym/")}
    assert packed == linked | own - {f"alignsam_gym/{name}" for name in LINKED}


@pytest.mark.slow
def test_the_sdist_holds_what_the_links_lead_to(sdist):
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    assert members["alignsam_gym/agents/__init__.py"].isfile()
    assert members["alignsam_gym/agents"].isdir()
    folders = {name.partition("/")[0] for name in members if "/" in name}
    assert folders == {"alignsam_gym", "alignsam_gym.egg-info"}


@pytest.mark.slow
@pytest.mark.parametrize("ours_first", [True, False])
def test_it_is_installed_beside_another_package_called_agents(wheel, other_agents, tmp_path, ours_first):
    python = environment(tmp_path / "env")
    for archive in (wheel, other_agents) if ours_first else (other_agents, wheel):
        install(python, archive)
    program = "import agents, alignsam_gym.agents as ours; print(agents.OWNER, ours.__file__, hasattr(ours, 'OWNER'))"
    owner, place, mixed = checked([python, "-c", program], **outside(tmp_path / "elsewhere")).split()
    assert owner == "other"
    assert Path(place).match("site-packages/alignsam_gym/agents/__init__.py")
    assert mixed == "False"


@pytest.mark.slow
def test_an_editable_install_is_the_checkout_under_one_name(source, tmp_path):
    python = environment(tmp_path / "env")
    install(python, "--editable", source)
    program = "import alignsam_gym.conf as conf, importlib.util as u; print(conf.__file__, u.find_spec('experiments'))"
    place, bare = checked([python, "-c", program], **outside(tmp_path / "elsewhere")).split()
    assert Path(place) == source / "alignsam_gym/conf/__init__.py"
    assert bare == "None"
    assert "summarize" in checked([tmp_path / "env/bin/alignsam", "--help"], **outside(tmp_path / "elsewhere"))


def test_a_checkout_without_links_says_how_to_clone(tmp_path):
    (tmp_path / "alignsam_gym").mkdir()
    shutil.copy2(ROOT / "alignsam_gym/__init__.py", tmp_path / "alignsam_gym")
    for name in LINKED:
        (tmp_path / "alignsam_gym" / name).write_text(f"../{name}")
    program = [sys.executable, "-c", "import alignsam_gym.agents"]
    done = subprocess.run(program, capture_output=True, text=True, **outside(tmp_path))
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert "git clone -c core.symlinks=true" in done.stderr


@pytest.mark.slow
def test_the_commands_work_outside_the_checkout(wheel, tmp_path):
    python = environment(tmp_path / "env")
    install(python, wheel)
    elsewhere = outside(tmp_path / "elsewhere")

    def alignsam(*arguments):
        return checked([tmp_path / "env/bin/alignsam", *arguments], **elsewhere)

    assert "predict" in alignsam("--help")
    assert "shapes-shadow" in alignsam("train", "--help")
    alignsam("train", *TINY, "hydra.run.dir=run")
    assert json.loads((elsewhere["cwd"] / "run/metrics.json").read_text())["timesteps"] == 4
    alignsam("export", "run", "agent.alignsam")
    photo = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(elsewhere["cwd"] / "photo.png"), photo)
    alignsam("predict", "agent.alignsam", "photo.png", "--out", "masks")
    assert cv2.imread(str(elsewhere["cwd"] / "masks/photo.png"), cv2.IMREAD_UNCHANGED).shape == (50, 80)
    place = checked([python, "-c", "from alignsam_gym import experiments; print(experiments.__file__)"], **elsewhere)
    assert str(tmp_path) in place
