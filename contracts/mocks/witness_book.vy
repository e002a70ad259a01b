# pragma version 0.4.3
"""
@title Witness book
@license GNU Affero General Public License v3.0 only
@notice What all encodings of a full check share: positions as the ledger keeps them, the root, and what a check found. Each sums the
        vector of one underlying and stores the same digest for the same leaves. Left out, because it is the same for all: the
        ledger's lock, the oracle, tokens, several underlyings, the margin's minimum.
"""

from lib import account_words
from lib import constants
from lib import risk_array


struct Total:
    last: uint256
    count: uint256
    closeout: uint256
    net: uint256


# @dev A check came to the root; `digest` is of its close-out and vector.
event Checked:
    book: uint256
    digest: bytes32


# @dev As the ledger keeps them; and how many a book has.
_lots: HashMap[uint256, uint256]
_open: HashMap[uint256, uint256]


# @dev The root that leaves are proven under, and what checks found.
_root: bytes32
digest: public(HashMap[uint256, HashMap[uint256, bytes32]])


# Setting


@external
def hold(book: uint256, ids: DynArray[uint256, constants.MAX_POSITIONS], lots: DynArray[int256, constants.MAX_POSITIONS]):
    """
    @notice Positions of a book that has none.
    @param book Its number.
    @param ids Instrument ids.
    @param lots Signed lots.
    """
    for i: uint256 in range(len(ids), bound=constants.MAX_POSITIONS):
        key: uint256 = account_words._lots_key(book, ids[i])
        self._lots[key] = account_words._with_lots(self._lots[key], ids[i], lots[i])
    self._open[book] = len(ids)


@external
def set_root(root: bytes32):
    """
    @notice The root that the next checks are held against.
    @param root It.
    """
    self._root = root


# Internal


@internal
def _keep(encoding: uint256, book: uint256, total: Total, vector: uint256[10]):
    """
    @dev Keep what a check found; it stands only if the call goes through.
    @param encoding Its number.
    @param book The book.
    @param total What was added.
    @param vector The scenario vector.
    """
    assert total.count == self._open[book], "encodings: not all positions"
    found: bytes32 = keccak256(abi_encode(total.closeout, vector))
    self.digest[encoding][book] = found
    log Checked(book=book, digest=found)


@pure
@internal
def _vector(sums: uint256[10], net: uint256) -> uint256[10]:
    """
    @dev A scenario vector from sums of risk arrays.
    @param sums Ten words, their bias left in.
    @param net Sum of the quantities, modulo 2^256.
    """
    bias: uint256 = risk_array._bias(net)
    for k: uint256 in range(constants.VECTOR_WORDS):
        sums[k] = unsafe_add(sums[k], bias)
    return sums
