import subprocess
import sys


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_loading_the_embedded_models_does_not_import_torchvision():
    code = """
import sys
from alignsam_gym.foundation.sam.predictor import load_sam
load_sam("tiny", "cpu")
print("torchvision" in sys.modules)
from segment_anything import SamPredictor, sam_model_registry
import segment_anything
print(sorted(sam_model_registry), segment_anything.SamPredictor is SamPredictor, "torchvision" in sys.modules)
from segment_anything.modeling import Sam
print(segment_anything.modeling.Sam is Sam)
"""
    first, second, third = _run(code).splitlines()
    assert first == "False"
    assert second == "['default', 'vit_b', 'vit_h', 'vit_l'] True True"
    assert third == "True"


def test_a_package_that_was_imported_before_stays_as_it_is():
    code = """
import segment_anything
predictor = segment_anything.SamPredictor
import alignsam_gym.foundation
print(segment_anything is __import__("segment_anything"), segment_anything.SamPredictor is predictor)
"""
    assert _run(code).split() == ["True", "True"]
