"""The relay's figures."""

from prometheus_client import CollectorRegistry, generate_latest

from gateway.pos.tally import Tally


def test_figures_are_kept_by_shop_and_webhook() -> None:
    registry = CollectorRegistry()
    tally = Tally(registry)
    tally.of("acme", "till").delivered.inc()
    tally.of("acme", "books").parked_now.set(2)
    text = generate_latest(registry).decode()
    assert 'holdfast_relay_delivered_total{shop="acme",webhook="till"} 1.0' in text
    assert 'holdfast_relay_parked_now{shop="acme",webhook="books"} 2.0' in text


def test_a_relay_that_left_says_nothing_of_what_is_in_hand() -> None:
    registry = CollectorRegistry()
    tally = Tally(registry)
    tally.of("acme", "till").in_hand.set(3)
    tally.of("acme", "till").parked.inc()
    tally.leave("acme", "till")
    text = generate_latest(registry).decode()
    assert "holdfast_relay_in_hand{" not in text
    assert 'holdfast_relay_parked_total{shop="acme",webhook="till"} 1.0' in text
