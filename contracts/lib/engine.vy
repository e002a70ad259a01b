# pragma version 0.4.3
"""
@title Engine
@license GNU Affero General Public License v3.0 only
@notice What every engine shares: where ledger and oracle are, when a witness is believed, how a checkpoint is stored.
@dev An account's margin content is believed if it belongs to the account's *current* position hash and head, which the
     ledger gives, and is proven under the latest account root, or is the checkpoint of the latest epoch. So a stale witness
     cannot verify, a foreign or shortened one neither, and two headers are never mixed.
"""

from interfaces import ILedger
from interfaces import IMargin
from interfaces import IRiskOracle
from lib import constants
from lib import margin
from lib import merkle


ledger: public(immutable(ILedger))
oracle: public(immutable(IRiskOracle))


@deploy
def __init__(ledger_: address, oracle_: address):
    """
    @notice Bind the engine to its ledger and its oracle for ever.
    @param ledger_ The ledger, which must name this contract as an engine.
    @param oracle_ The risk oracle.
    """
    assert ledger_ != empty(address) and oracle_ != empty(address), "engine: address is zero"
    ledger = ILedger(ledger_)
    oracle = IRiskOracle(oracle_)


@internal
def _enter():
    """
    @dev Take the ledger's lock for one action of this engine.
    """
    extcall ledger.enter()


@internal
def _leave():
    """
    @dev Give the lock back.
    """
    extcall ledger.leave()


@view
@internal
def _account(account: uint256) -> ILedger.Account:
    """
    @dev An account as the ledger has it.
    @param account The account.
    """
    return staticcall ledger.account(account)


@view
@internal
def _holdings(account: uint256) -> ILedger.Account:
    """
    @dev An account without owner, version and last trade: enough to check its margin, for 2,100 gas less.
    @param account The account.
    """
    return staticcall ledger.holdings(account)


@view
@internal
def _quantity(account: uint256, instrument: uint256) -> int256:
    """
    @dev An account's position, signed lots.
    @param account The account.
    @param instrument Instrument id.
    """
    return staticcall ledger.quantity(account, instrument)


@internal
def _move_cash(giver: uint256, taker: uint256, amount: uint256, reason: uint256):
    """
    @dev Move cash, if there is any to move.
    @param giver Account that pays.
    @param taker Account that gets it.
    @param amount Micro-USD.
    @param reason Why (constants.vy).
    """
    if amount != 0:
        extcall ledger.move_cash(giver, taker, amount, reason)


@view
@internal
def _believe(
    account: ILedger.Account, witness: IMargin.Witness, epoch: uint256, account_root: bytes32
) -> margin.Content:
    """
    @dev The margin content that a witness gives, if it is to be believed.
    @param account The account as the ledger has it.
    @param witness What the caller supplied.
    @param epoch The latest epoch.
    @param account_root Its account root.
    """
    checkpoint: bytes32 = empty(bytes32)
    if len(witness.proof) == 0 and len(witness.vectors) != 0:
        checkpoint = staticcall ledger.checkpoint(account.head >> 192)
    self._check_witness(account, witness, epoch, account_root, checkpoint)
    return margin.Content(head=account.head, cost=witness.cost, vectors=witness.vectors)


@pure
@internal
def _check_witness(
    account: ILedger.Account,
    witness: IMargin.Witness,
    epoch: uint256,
    account_root: bytes32,
    checkpoint: bytes32,
):
    """
    @dev Refuse a witness that is not to be believed. Then its cost and vectors are the account's.
    @param account The account as the ledger has it.
    @param witness What the caller supplied.
    @param epoch The latest epoch.
    @param account_root Its account root.
    @param checkpoint The account's checkpoint; it counts only without a proof.
    """
    length: uint256 = len(witness.vectors)
    if margin._open_positions(account.head) == 0:
        assert witness.head == 0 and witness.cost == 0, "witness: account has no positions"
        assert length == 0 and len(witness.proof) == 0, "witness: account has no positions"
        return

    assert witness.head >> 192 == account.head >> 192, "witness: foreign account"
    assert witness.head == account.head, "witness: stale"
    assert length == margin._underlyings(account.head) * constants.VECTOR_WORDS, "witness: wrong length"
    digest: bytes32 = keccak256(
        abi_encode(witness.head, account.position_hash, witness.cost, witness.vectors)  # as margin._digest
    )
    if len(witness.proof) == 0:
        if checkpoint == keccak256(abi_encode(epoch, digest)):
            return
    assert merkle._root(keccak256(digest), witness.proof) == account_root, "witness: not proven"


@internal
def _store(account: ILedger.Account, content: margin.Content, epoch: uint256):
    """
    @dev Store the checkpoint of a content that was checked or computed from a checked one. An account without positions
         needs none, and what was stored before cannot match its new position hash.
    @param account The account after the action.
    @param content Its content.
    @param epoch The latest epoch.
    """
    if margin._open_positions(account.head) != 0:
        extcall ledger.set_checkpoint(account.head >> 192, self._checkpoint(account, content, epoch))


@pure
@internal
def _checkpoint(account: ILedger.Account, content: margin.Content, epoch: uint256) -> bytes32:
    """
    @dev The checkpoint of a content; zero, which is none, for an account without positions.
    @param account The account after the action.
    @param content Its content.
    @param epoch The latest epoch.
    """
    if margin._open_positions(account.head) == 0:
        return empty(bytes32)
    return keccak256(abi_encode(epoch, margin._digest(content, account.position_hash)))


@view
@internal
def _all_live(head: uint256) -> bool:
    """
    @dev Whether the oracle has all of an account's underlyings as live, none as provisional or disputed.
    @param head The account's head.
    """
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        underlying: uint256 = (head >> unsafe_sub(176, unsafe_mul(16, i))) & constants.MASK_16
        if underlying == 0:
            break
        word: uint256 = staticcall oracle.mark(underlying)
        if (word >> 72) & constants.MASK_8 != constants.LIVE:
            return False
    return True
