"""How hard Hypothesis tries.

``HOLDFAST_HYPOTHESIS=thorough pytest tests/property`` plays sixty times as many games, each three
times as long, and shrinks what fails to the shortest game; it takes some minutes. ``deep``, which
``HOLDFAST_TEST_DEEP=yes`` means, plays seven times as many as are played without either: those are
as many as fit a test run, and one that fails is shown as it was played.
"""

import os

from hypothesis import HealthCheck, Phase, settings

from tests.depth import DEEP

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "quick",
    max_examples=14,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=_SLOW,
)
settings.register_profile("deep", settings.get_profile("quick"), max_examples=100)
settings.register_profile(
    "thorough",
    max_examples=1200,
    stateful_step_count=90,
    deadline=None,
    suppress_health_check=_SLOW,
)
settings.load_profile(os.environ.get("HOLDFAST_HYPOTHESIS", "deep" if DEEP else "quick"))
