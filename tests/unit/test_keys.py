"""Every key of a shop lies in the shop's slot, and no two mean the same thing."""

import inspect

from redis.crc import key_slot

from gateway.keys import SHOPS, ShopKeys


def names(keys: ShopKeys, one: str) -> dict[str, str]:
    """Every key there is, each made of the same id where it needs one."""
    made = {}
    for name, member in inspect.getmembers(ShopKeys):
        if isinstance(member, property):
            made[name] = getattr(keys, name)
        elif inspect.isfunction(member) and not name.startswith("_"):
            made[name] = member(keys, one)
    return made


def test_all_keys_of_a_shop_are_in_one_slot() -> None:
    keys = names(ShopKeys("demo"), "some-id")
    assert len(keys) > 15
    assert {key_slot(key.encode()) for key in keys.values()} == {key_slot(b"demo")}


def test_no_two_keys_are_the_same() -> None:
    keys = names(ShopKeys("demo"), "some-id")
    assert len(set(keys.values())) == len(keys)
    others = names(ShopKeys("demo2"), "some-id")
    assert not set(keys.values()) & set(others.values())
    assert SHOPS not in keys.values()


def test_no_id_names_the_key_of_something_else() -> None:
    words = ["stock", "meta", "hold", "order", "shopper", "parked", "tonight"]
    made = [names(ShopKeys("demo"), word) for word in words]
    plain = {name for name in made[0] if made[0][name] == made[1][name]}
    of_ids = [key for keys in made for name, key in keys.items() if name not in plain]
    assert len(set(of_ids)) == len(of_ids)
    assert not set(of_ids) & {made[0][name] for name in plain}


def test_the_order_of_a_hold_and_the_hold_are_different_keys() -> None:
    keys = ShopKeys("demo")
    assert keys.hold("x") == "hf:{demo}:hold:x"
    assert keys.order("x") == "hf:{demo}:order:x"
