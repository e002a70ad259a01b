# pragma version 0.4.3
"""
@title FallbackHarness
@license GNU Affero General Public License v3.0 only
@notice The fallback module on its own, for comparison with plain integers.
"""

from lib import fallback


@pure
@external
def place(rows: uint256[40], mark: uint256, price: uint256) -> fallback.Place:
    """
    @notice Where a price stands between rows.
    @param rows The rows.
    @param mark The underlying's mark.
    @param price Micro-USD per unit.
    @return Place The place.
    """
    return fallback._place(rows, mark, price)


@pure
@external
def lot_value(rows: uint256[40], mark: uint256, price: uint256, array: uint256[5]) -> int256:
    """
    @notice Value of a lot at a price.
    @param rows The rows.
    @param mark The underlying's mark.
    @param price Micro-USD per unit.
    @param array The risk array.
    @return int256 Micro-USD.
    """
    return fallback._lot_value(array, fallback._place(rows, mark, price))


@pure
@external
def vector_value(rows: uint256[40], mark: uint256, price: uint256, vectors: DynArray[uint256, 40], start: uint256) -> int256:
    """
    @notice Value of an account's positions in one underlying at a price.
    @param rows The rows.
    @param mark The underlying's mark.
    @param price Micro-USD per unit.
    @param vectors Scenario vectors.
    @param start Where the underlying's words begin.
    @return int256 Micro-USD.
    """
    return fallback._vector_value(vectors, start, fallback._place(rows, mark, price))


@view
@external
def rows(policy_code: address) -> uint256[40]:
    """
    @notice The rows of a kept policy.
    @param policy_code The contract that keeps it.
    @return uint256[40] The rows.
    """
    return fallback._rows(policy_code)
