"""What Hypothesis draws from when it plays against the scripts."""

from hypothesis import strategies as st

from tests.property.model import FUTURE_S, Move, Want

shoppers = st.sampled_from(["ann", "bob"])
keys = st.integers(1, 6).map(lambda number: f"k{number}")
skus = st.sampled_from(["cap", "tee"])
locations = st.sampled_from(["main", "store"])
tokens = st.sampled_from(["pm_card_visa", "pm_card_mastercard"])
late_copies = st.sampled_from([0, 0, 0, 1])
"""How many attempts ago the caller has looked."""

lines = st.dictionaries(skus, st.integers(1, 3), min_size=1).map(
    lambda units: tuple(sorted(units.items()))
)
wants = st.builds(Want, shoppers, keys, lines, st.none() | st.none() | locations)
times = st.integers(1, 20) | st.just(FUTURE_S)
moves = st.one_of(
    st.builds(
        Move,
        st.sampled_from(["received", "returned", "fulfilled"]),
        skus,
        locations,
        st.integers(1, 4),
        times,
    ),
    st.builds(
        Move,
        st.sampled_from(["counted", "safety_stock"]),
        skus,
        locations,
        st.integers(0, 6),
        times,
    ),
    st.builds(
        Move, st.just("adjusted"), skus, locations, st.sampled_from([-3, -2, -1, 1, 2]), times
    ),
)
references = st.integers(1, 12).map(lambda number: f"r{number}")
batches = st.lists(
    st.tuples(references, moves), min_size=1, max_size=3, unique_by=lambda one: one[0]
)
