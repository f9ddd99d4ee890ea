import pytest

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.reproduce.__main__ import reproduce


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "Nothing is asked for"),
        (["table=7"], "there are 2, 3, 4"),
        (["table=2", "jobs=0"], "jobs=0: at least one"),
        (["table=2", "resamples=0"], "resamples=0"),
        (["table=2", "overrides='sam=vit_b'"], "overrides=sam=vit_b: it must be a list"),
        (["figure=7", "figure7.T=5"], r"figure7.T=5: it must be a list of whole numbers"),
        (["table=2", "overrides=['episodes=3','seed=7']"], r"overrides: seed=7 is set for each run by seeds=\["),
        (["table=2", "overrides=['+evaluate.strategies=[agent]']"], r"strategies=\[agent\] is set for each run by"),
        (["table=2", "overrides=['dataset=CUHK']"], "dataset=CUHK is set for each run by tasks"),
        (["table=2", "tasks=null"], "tasks=None: leave it out, or give the keys below it"),
        (["table=2", "figure7=null"], "figure7=None: leave it out"),
        (["table=2", "seeds=3"], "seeds=3: it must be a list"),
        (["table=2", "seeds=[]"], "seeds="),
        (["table=2", "baselines=persam"], r"baselines=persam: it must be a list, such as \[persam\]"),
        (["table=2", "baselines=[nothing]"], "baselines='nothing' is unknown; choose one of persam"),
        (["table=beyond", "beyond=[salience]"], "beyond='salience' is unknown"),
        (["table=2", "figure7.tasks=[foo]"], "figure7.tasks='foo' is unknown"),
        (["figure=7", "~tasks.glass", "figure7.tasks=[glass]"], "Figure 7 shows none of the tasks"),
        (["table=3", "tasks.semantic=shapes"], "tasks.semantic=shapes: it has not several categories"),
        (["table=3", "tasks.semantic=[shapes-named,'dataset.category=star']"], "it has not several categories"),
        (["figure=[5,8]"], "there are 5, 6, 7"),
        (["table=2", "overrides=['episode=3']"], "episode"),
        (["table=2", "tasks.blur=nowhere"], "nowhere"),
        (["table=2", "+tasks.depth=shapes"], "tasks='depth' is unknown"),
        (
            ["table=3", "~tasks.semantic"],
            "Table 3 shows none of the tasks that are left",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(configured, stub, overrides, says):
    with pytest.raises(OptionError, match=says):
        reproduce(configured(*overrides), stub, stub.interrupt)
    assert stub.commands == []
