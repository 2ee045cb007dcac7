"""How hard Hypothesis tries.

``HOLDFAST_HYPOTHESIS=thorough pytest tests/property`` plays twenty times as many games, each three
times as long, and shrinks what fails to the shortest game; it takes some minutes. Without it the
games are as many as fit a test run, and one that fails is shown as it was played.
"""

import os

from hypothesis import HealthCheck, Phase, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "quick",
    max_examples=35,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "thorough",
    max_examples=1200,
    stateful_step_count=90,
    deadline=None,
    suppress_health_check=_SLOW,
)
settings.load_profile(os.environ.get("HOLDFAST_HYPOTHESIS", "quick"))
