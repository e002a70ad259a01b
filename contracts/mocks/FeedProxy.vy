# pragma version 0.4.3
"""
@title FeedProxy
@license GNU Affero General Public License v3.0 only
@notice A feed that asks an aggregator, as the feeds in use do: two accounts to load. Tests only.
"""


interface Aggregator:
    def latestRoundData() -> (uint80, int256, uint256, uint256, uint80): view
    def decimals() -> uint8: view


aggregator: public(Aggregator)


@deploy
def __init__(aggregator_: address):
    """
    @param aggregator_ Whom it asks.
    """
    self.aggregator = Aggregator(aggregator_)


@view
@external
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @return (uint80, int256, uint256, uint256, uint80) What the aggregator says.
    """
    return staticcall self.aggregator.latestRoundData()


@view
@external
def decimals() -> uint8:
    """
    @return uint8 What the aggregator says.
    """
    return staticcall self.aggregator.decimals()
