# pragma version 0.4.3
"""
@title Keeper reward
@license GNU Affero General Public License v3.0 only
@notice What the gas of a liquidation is worth, so that small accounts are worth a keeper's while:

            floor = min(floor(multiple * gas * (base fee + 2 gwei) * index / 1e20), K)        micro-USD
            gas   = FIRST + LEG * (legs - 1)                                                  a whole transaction, as measured

        with `multiple` (1e-2) and the keeper reserve `K` of the margin parameters, and `index` the price of the chain's coin in
        the latest header, micro-USD per 1e18 wei. The header's price, not a policy number: in the hour when it matters gas costs
        twenty times as much and the coin half, and no timelock is as fast. A wrong one can do no more than `K`.
        Gas is a table, not what was used: who burns more gets no more.
"""

from lib import constants


# @dev Gas of a liquidation of one leg and of each further one (benchmarks/gas.md), and the tip that is paid for, wei.
FIRST: constant(uint256) = 260_000
LEG: constant(uint256) = 30_000
TIP: constant(uint256) = 2 * 10**9


@view
@internal
def _floor(legs: uint256, index: uint256, parameters: uint256) -> uint256:
    """
    @dev The floor, micro-USD. Base fees above 2^64 wei count as that, so nothing overflows.
    @param legs How many legs were taken, not zero.
    @param index Price of the chain's coin, micro-USD per 1e18 wei, below 2^64.
    @param parameters The word of margin parameters.
    """
    price: uint256 = min(block.basefee, constants.MASK_64) + TIP
    wei_spent: uint256 = (parameters >> 240) * (FIRST + LEG * (legs - 1)) * price
    return min(wei_spent * index // 10**20, (parameters >> 32) & constants.MASK_48)
