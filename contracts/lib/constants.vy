# pragma version 0.4.3
"""
@title Constants
@license GNU Affero General Public License v3.0 only
@notice The protocol's fixed numbers, each named once (docs/protocol.md, *Wire formats*).
"""


# Sizes. An account holds at most MAX_POSITIONS instruments of at most MAX_UNDERLYINGS underlyings.
SCENARIOS: constant(uint256) = 40
MAX_POSITIONS: constant(uint256) = 128
MAX_UNDERLYINGS: constant(uint256) = 4
MAX_LISTED: constant(uint256) = 16  # underlyings of a policy and of a header
ARRAY_WORDS: constant(uint256) = 5  # of a risk array: 8 lanes of 32 bits a word
VECTOR_WORDS: constant(uint256) = 10  # of a scenario vector: 4 lanes of 64 bits a word
MAX_VECTOR_WORDS: constant(uint256) = 40  # MAX_UNDERLYINGS * VECTOR_WORDS
MAX_DEPTH: constant(uint256) = 32  # of a single Merkle proof
MAX_MULTIPROOF: constant(uint256) = 640  # hashes: 128 legs scattered over 4,096 leaves, or 64 over 65,536
MAX_FLAG_WORDS: constant(uint256) = 3  # 127 + 640 steps of a multiproof, 256 a word
MAX_TAKES: constant(uint256) = 8  # legs of one liquidation
SUM_LIMIT: constant(uint256) = 2**32  # an account's sum of |q| stays below: every lane is exact (lib/risk_array.vy)

# Reserved accounts; owners' accounts are numbered from FIRST_ACCOUNT.
INSURANCE: constant(uint256) = 1
CLEARING: constant(uint256) = 2
SHORTFALL: constant(uint256) = 3
FEES: constant(uint256) = 4
FIRST_ACCOUNT: constant(uint256) = 256

# Why cash moved between accounts (`CashMoved`).
TRADE_FEE: constant(uint256) = 1
LIQUIDATION_PENALTY: constant(uint256) = 2  # to insurance
LIQUIDATION_REWARD: constant(uint256) = 3  # to the liquidator's account
TAKEOVER_PRICE: constant(uint256) = 16  # from taker to a new account of the previous owner
TAKEOVER_TOP_UP: constant(uint256) = 17  # from taker to the account
INSURANCE_PAYMENT: constant(uint256) = 18  # to an account in debt, or its taker's incentive
SHORTFALL_RECORDED: constant(uint256) = 19  # what insurance lacked
SHORTFALL_REPAID: constant(uint256) = 20  # by insurance
SHORTFALL_SHARED: constant(uint256) = 21  # by a withdrawal, its part of what nobody can pay

# Fractions (`kappa`, `im_factor`, penalty, split, fee, band) are in 1e-4.
ONE: constant(uint256) = 10_000

# Status of an underlying in the header.
LIVE: constant(uint256) = 1
PROVISIONAL: constant(uint256) = 2
DISPUTED: constant(uint256) = 3
# Status of an instrument in its leaf; 2 is close-only, 3 expired.
OPEN: constant(uint256) = 1
# State of the oracle.
ORACLE_LIVE: constant(uint256) = 1
ORACLE_STALE: constant(uint256) = 2
ORACLE_HALTED: constant(uint256) = 3
# What a mark says of the independent feed (bits 71..64 of the oracle's word).
FEED_NONE: constant(uint256) = 0
FEED_AGREES: constant(uint256) = 1
FEED_DISAGREES: constant(uint256) = 2
FEED_UNUSABLE: constant(uint256) = 3
# Actions that a guardian can pause.
PAUSE_RISK: constant(uint256) = 1  # trades that open risk
PAUSE_COLLATERAL: constant(uint256) = 2  # deposits of collateral tokens
# Kinds of instrument.
PERPETUAL: constant(uint256) = 1
PUT: constant(uint256) = 4  # 1..4 are derivatives, 5 is a token
TOKEN: constant(uint256) = 5

# Masks and lanes.
MASK_8: constant(uint256) = 2**8 - 1
MASK_16: constant(uint256) = 2**16 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_48: constant(uint256) = 2**48 - 1
MASK_64: constant(uint256) = 2**64 - 1
MASK_128: constant(uint256) = 2**128 - 1
EACH_LANE: constant(uint256) = 1 + 2**64 + 2**128 + 2**192
# The low half of each of a word's four 64-bit lanes.
LOW_HALVES: constant(uint256) = (2**32 - 1) * EACH_LANE
# Four 64-bit lanes that hold 2^31 and 2^63: the biases of a risk array and of a scenario vector.
BIAS_31: constant(uint256) = 2**31 * EACH_LANE
BIAS_63: constant(uint256) = 2**63 * EACH_LANE
