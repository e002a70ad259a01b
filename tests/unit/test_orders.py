"""Orders: who signed them, what they fill, at what price, in which instruments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from desk import BTC, BTC_FUTURE, BTC_PERP, BTC_TOKEN, ETH_PERP, NOTHING, PER_LOT, Pair, reason
from eth_account.signers.local import LocalAccount

from offchain.units import MICRO


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_orders__fill_in_parts__and_no_further(pair: Pair) -> None:
    desk = pair.desk
    maker = desk.order(pair.seller, BTC_PERP, -10, PER_LOT[BTC])
    for lots in (4, 5):
        desk.fill(maker, desk.order(pair.buyer, BTC_PERP, lots, PER_LOT[BTC]))
    taker = desk.order(pair.buyer, BTC_PERP, 2, PER_LOT[BTC])
    assert reason(desk.fill, maker, taker) == "house: order overfilled"
    desk.fill(maker, taker, lots=1)
    assert reason(desk.fill, maker, taker, lots=1) == "house: order overfilled"
    assert desk.house.call.filled(maker.digest(desk.chain.chain_id, desk.house.address)) == 10
    assert desk.ledger.call.quantity(pair.buyer, BTC_PERP) == 10


def test_order__replayed__reverts(pair: Pair) -> None:
    maker, taker = pair.orders()
    pair.desk.fill(maker, taker)
    assert reason(pair.desk.fill, maker, taker) == "house: order overfilled"


def test_order__expired__reverts(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    now = desk.chain.timestamp
    desk.fill(replace(maker, expiry=now + 1), taker, lots=5)  # mined at now + 1: the last second
    assert reason(desk.fill, replace(maker, expiry=now + 1), taker, lots=1) == "house: order expired"


def test_order__of_another_version__reverts(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    assert reason(desk.fill, replace(maker, version=1), taker) == "house: order for another version"
    desk.ledger.send.transfer_account(pair.seller, desk.keys[3].address, sender=pair.seller_key)
    signed = {"maker_signature": desk.sign(maker, pair.seller_key)}
    assert reason(desk.fill, maker, taker, **signed) == "house: order for another version"
    old_owner = {"maker_signature": desk.sign(replace(maker, version=1), pair.seller_key)}
    assert reason(desk.fill, replace(maker, version=1), taker, **old_owner) == "house: not signed by the owner"
    desk.fill(replace(maker, version=1), taker)


def test_order__not_signed_by_the_owner__reverts(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    stranger: LocalAccount = desk.keys[5]
    address = desk.house.address
    elsewhere = maker.sign(pair.seller_key, 1, address)
    other_contract = maker.sign(pair.seller_key, desk.chain.chain_id, desk.ledger.address)
    other_order = desk.sign(replace(maker, price=maker.price + 1), pair.seller_key)
    for forged in (desk.sign(maker, stranger), elsewhere, other_contract, other_order, b"", b"\x01" * 64):
        assert reason(desk.fill, maker, taker, maker_signature=forged) == "house: not signed by the owner"
    assert (
        reason(desk.fill, maker, taker, taker_signature=desk.sign(taker, stranger)) == "house: not signed by the owner"
    )
    nobody = replace(maker, account=9_999)
    signed = {"maker_signature": desk.sign(nobody, stranger), "maker_witness": NOTHING}
    assert reason(desk.fill, nobody, taker, **signed) == "house: not signed by the owner"
    refused = reason(desk.fill, nobody, taker, maker_signature=bytes(65), maker_witness=NOTHING)
    assert refused == "house: not signed by the owner"


def test_order__signature_turned_over__fills_no_more(pair: Pair) -> None:
    """The other s of the same signature counts against the same order."""
    maker, taker = pair.orders()
    good = pair.desk.sign(maker)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    turned = good[:32] + (order - int.from_bytes(good[32:64], "big")).to_bytes(32, "big") + bytes([55 - good[64]])
    pair.desk.fill(maker, replace(taker, lots=10), lots=6)
    refused = reason(pair.desk.fill, maker, taker, lots=5, maker_signature=turned)
    assert refused == "house: order overfilled"
    pair.desk.fill(maker, taker, lots=4, maker_signature=turned)


def test_orders__that_do_not_match__revert(pair: Pair) -> None:
    desk = pair.desk
    maker, taker = pair.orders()
    assert reason(desk.fill, replace(maker, account=pair.buyer), taker) == "house: one account on both sides"
    assert reason(desk.fill, maker, replace(taker, instrument=ETH_PERP)) == "house: order names another instrument"
    leg = {"leg": desk.leg(ETH_PERP), "proof": desk.proof(ETH_PERP)}
    assert reason(desk.fill, maker, taker, **leg) == "house: order names another instrument"
    assert reason(desk.fill, replace(maker, lots=10), taker) == "house: orders on the same side"
    assert reason(desk.fill, maker, replace(taker, lots=-10)) == "house: orders on the same side"
    assert (
        reason(desk.fill, replace(maker, lots=-(2**255)), replace(taker, lots=0), lots=1)
        == "house: orders on the same side"
    )
    for lots in (0, 2**32, 2**255):
        assert reason(desk.fill, maker, taker, lots=lots) == "house: lots out of range"
    assert reason(desk.fill, maker, replace(taker, price=maker.price - 1)) == "house: price beyond the taker's limit"
    for price in (-1, 2**64, -(2**255), 2**255 - 1):
        assert reason(desk.fill, replace(maker, price=price), taker) == "house: price out of range"
    buying = replace(maker, lots=10), replace(taker, lots=-10, price=taker.price + 1)
    assert reason(desk.fill, *buying, lots=10) == "house: price beyond the taker's limit"


def test_price__to_the_edge_of_the_band__and_not_a_unit_beyond(pair: Pair) -> None:
    """5 % of index a lot and half of the mark: 0.5 + 5 dollars about 10."""
    desk = pair.desk
    for price in (PER_LOT[BTC] + 5_500_000, PER_LOT[BTC] - 5_500_000):
        desk.fill(*pair.orders(price=price, lots=1))
    for price in (PER_LOT[BTC] + 5_500_001, PER_LOT[BTC] - 5_500_001):
        assert reason(desk.fill, *pair.orders(price=price, lots=1)) == "house: price outside the band"


def test_price__band_of_an_odd_mark__is_exact() -> None:
    """With an index of 10,000.000123 dollars the band is no integer: its floor is in, the next unit out."""
    pair = Pair()
    desk = pair.desk
    desk.reprice(BTC, 10_000 * MICRO + 123, 777)
    desk.post()
    mark = desk.posted[BTC_PERP].array[0] + 777
    edge = (2 * 500 * (10_000 * MICRO + 123) + 10_000 * 1_000 * mark) // (2 * 10_000 * 1_000)
    desk.fill(*pair.orders(price=mark + edge, lots=1))
    desk.fill(*pair.orders(price=mark - edge, lots=1))
    assert reason(desk.fill, *pair.orders(price=mark + edge + 1, lots=1)) == "house: price outside the band"
    assert reason(desk.fill, *pair.orders(price=mark - edge - 1, lots=1)) == "house: price outside the band"


def test_instrument__unproven_unlisted_or_token__reverts() -> None:
    pair = Pair(unlisted=(BTC_FUTURE, BTC_TOKEN), instruments=(BTC_PERP, ETH_PERP))
    desk = pair.desk
    maker, taker = pair.orders()
    meta, array = desk.leg(BTC_PERP)
    for false in ((meta ^ 1 << 8, array), (meta, [array[0] + 1, *array[1:]])):
        assert reason(desk.fill, maker, taker, leg=false) == "house: instrument not proven"
    assert reason(desk.fill, maker, taker, proof=desk.proof(ETH_PERP)) == "house: instrument not proven"
    assert reason(desk.fill, maker, taker, proof=[]) == "house: instrument not proven"
    assert reason(desk.fill, maker, taker, proof=[*desk.proof(BTC_PERP), bytes(32)]) == "house: instrument not proven"
    assert reason(desk.fill, *pair.orders(BTC_FUTURE)) == "house: instrument not listed"
    assert reason(desk.fill, *pair.orders(BTC_TOKEN)) == "house: not a derivative"
    old = desk.leg(BTC_PERP), desk.proof(BTC_PERP)
    desk.reprice(BTC, 10_100 * MICRO)
    desk.post()
    assert reason(desk.fill, maker, taker, leg=old[0], proof=old[1]) == "house: instrument not proven"
