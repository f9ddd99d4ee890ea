"""The prompting game: its rules, an episode, and the environments that play it."""
