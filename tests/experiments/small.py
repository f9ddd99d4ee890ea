"""Options of a training that ends in seconds."""

_SIZES = [
    "env.num_envs=4", "env.shots=4", "env.max_steps=3", "episodes=2", "srm.width=8", "srm.final_updates=2",
    "evaluate.limit=3", "evaluate.batch_size=3", "evaluate.filmstrips=2",
]  # fmt: skip
SMALL = [*_SIZES, "agent.n_epochs=1", "agent.batch_size=6"]
SMALL_DQN = [*_SIZES, "agent.buffer_size=200", "agent.learning_starts=8", "agent.batch_size=6"]
HARDLY_EVALUATED = ["evaluate.strategies=[agent]", "evaluate.limit=1", "evaluate.filmstrips=0"]
"""For tests whose subject is not what was measured: measuring takes longer than learning does."""
