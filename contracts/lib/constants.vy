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

# Fractions (`kappa`, `im_factor`, penalty, split, fee, band) are in 1e-4.
ONE: constant(uint256) = 10_000

# Status of an underlying in the header.
LIVE: constant(uint256) = 1
# Status of an instrument in its leaf; 2 is close-only, 3 expired.
OPEN: constant(uint256) = 1
# Kinds of instrument.
PERPETUAL: constant(uint256) = 1
PUT: constant(uint256) = 4  # 1..4 are derivatives, 5 is a token

# Masks and lanes.
MASK_8: constant(uint256) = 2**8 - 1
MASK_16: constant(uint256) = 2**16 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_64: constant(uint256) = 2**64 - 1
MASK_128: constant(uint256) = 2**128 - 1
EACH_LANE: constant(uint256) = 1 + 2**64 + 2**128 + 2**192
# The low half of each of a word's four 64-bit lanes.
LOW_HALVES: constant(uint256) = (2**32 - 1) * EACH_LANE
# Four 64-bit lanes that hold 2^31 and 2^63: the biases of a risk array and of a scenario vector.
BIAS_31: constant(uint256) = 2**31 * EACH_LANE
BIAS_63: constant(uint256) = 2**63 * EACH_LANE
