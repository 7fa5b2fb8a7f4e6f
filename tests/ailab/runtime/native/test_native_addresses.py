"""Addresses: within the network, unique, the same at every start."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from ailab.runtime.native.addresses import assign

names = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), unique=True, max_size=200)


@settings(max_examples=50)
@given(names, st.integers(1, 255))
def test_unique_and_within_the_network(services: list[str], second: int) -> None:
    found = assign(services, f"127.{second}.0.0/16")
    assert found.keys() == set(services)
    assert len(set(found.values())) == len(services)
    for address in found.values():
        assert ipaddress.ip_address(address) in ipaddress.ip_network(f"127.{second}.0.0/16")
        assert address.split(".")[2] != "0", "a person may use these by hand"
        assert address.split(".")[3] not in ("0", "255")


@settings(max_examples=50)
@given(names, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(services: list[str], random: object) -> None:
    mixed = list(services)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert assign(mixed, "127.77.0.0/16") == assign(services, "127.77.0.0/16")


@settings(max_examples=50)
@given(names, st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True))
def test_a_new_name_moves_another_only_from_its_own_address(services: list[str], new: str) -> None:
    before, after = assign(services, "127.77.0.0/16"), assign([*{*services, new}], "127.77.0.0/16")
    moved = {n for n in services if before[n] != after[n] and n != new}
    if moved:
        assert after[new] in {before[n] for n in moved}


def test_two_names_that_meet_get_neighbours() -> None:
    # crc32 of these two leads to the same place
    seen: dict[str, str] = {}
    for number in range(2000):
        name = f"s{number}"
        address = assign([name], "127.77.0.0/16")[name]
        if address in seen:
            both = assign([name, seen[address]], "127.77.0.0/16")
            assert len(set(both.values())) == 2
            assert both[min(name, seen[address])] == address
            return
        seen[address] = name
    raise AssertionError("no two of 2000 names meet: the test needs others")
