# pragma version 0.4.3
"""
@title Orders
@license GNU Affero General Public License v3.0 only
@notice What an owner signs (EIP-712), and how much of it was filled. An order is good for one chain, one clearing house and
        one version of an account; giving an account away, to oneself for one, voids all its orders at once.
@dev Who owns an account signs with a key (65 bytes: r, s, v), or is a contract that says yes (EIP-1271). A second form of a
     signature fills the same order, which is known by its hash, so forms of signatures do not matter.
"""

from snekmate.utils import eip712_domain_separator

from interfaces import IClearingHouse
from interfaces import ILedger
from lib import engine

uses: engine
uses: eip712_domain_separator


MAX_SIGNATURE: constant(uint256) = 1024  # bytes; those of contracts may be long
_ORDER_TYPE: constant(bytes32) = keccak256(
    "Order(uint256 account,uint256 version,uint256 instrument,int256 lots,int256 price,uint256 expiry,uint256 salt)"
)
_CANCELLED: constant(uint256) = max_value(uint256)
_MAGIC: constant(bytes4) = 0x1626ba7e  # what a contract answers to agree, and the selector it is asked by (EIP-1271)


# Lots filled so far by hash of the signed order (`order_hash`); the greatest number if it was cancelled.
# Invariant `no_overfill`: filled <= abs(order.lots), or cancelled.
filled: public(HashMap[bytes32, uint256])


@external
def cancel(order: IClearingHouse.Order):
    """
    @notice Void an order for good. Only the owner of its account, in any state.
    @param order The order, signed or not.
    """
    assert engine._account(order.account).owner == msg.sender, "house: not the owner"
    hash: bytes32 = self._order_hash(order)
    self.filled[hash] = _CANCELLED
    log IClearingHouse.Cancelled(account=order.account, order=hash)


@view
@external
def order_hash(order: IClearingHouse.Order) -> bytes32:
    """
    @notice What an owner signs for an order (EIP-712).
    @param order The order.
    @return bytes32 The digest.
    """
    return self._order_hash(order)


@view
@internal
def _order_hash(order: IClearingHouse.Order) -> bytes32:
    """
    @dev EIP-712 digest of an order: good for this chain and this contract only.
    @param order The order.
    """
    return eip712_domain_separator._hash_typed_data_v4(keccak256(abi_encode(_ORDER_TYPE, order)))


@internal
def _fill(
    order: IClearingHouse.Order,
    signature: Bytes[MAX_SIGNATURE],
    lots: uint256,
    account: ILedger.Account,
    shrinks: bool,
) -> bytes32:
    """
    @dev Fill some of an order that the account's owner signed.
    @param order The order. The top bit of its salt says that it may only make a position smaller.
    @param signature The signature.
    @param lots Lots to fill, below 2^32.
    @param account The order's account.
    @param shrinks Whether the position gets smaller without turning.
    @return bytes32 Hash of the order.
    """
    assert block.timestamp <= order.expiry, "house: order expired"
    assert order.version == account.version, "house: order for another version"
    assert shrinks or order.salt >> 255 == 0, "house: order only reduces"
    hash: bytes32 = self._order_hash(order)
    assert self._is_signed(hash, signature, account.owner), "house: not signed by the owner"
    before: uint256 = self.filled[hash]
    assert before != _CANCELLED, "house: order cancelled"
    limit: int256 = order.lots if order.lots > 0 else unsafe_sub(0, order.lots)
    total: uint256 = before + lots
    assert total <= convert(convert(limit, bytes32), uint256), "house: order overfilled"
    self.filled[hash] = total
    return hash


@view
@internal
def _is_signed(hash: bytes32, signature: Bytes[MAX_SIGNATURE], owner: address) -> bool:
    """
    @dev Whether the owner signed. A contract is asked by a static call, under the ledger's lock: it can change nothing.
    @param hash What was signed.
    @param signature The signature.
    @param owner The account's owner; zero, for an account that does not exist, signs nothing.
    """
    if owner == empty(address):
        return False
    if len(signature) == 65:
        r: uint256 = extract32(signature, 0, output_type=uint256)
        s: uint256 = extract32(signature, 32, output_type=uint256)
        v: uint256 = convert(slice(signature, 64, 1), uint256)
        if ecrecover(hash, v, r, s) == owner:
            return True
    if not owner.is_contract:
        return False
    done: bool = False
    answer: Bytes[32] = b""
    done, answer = raw_call(
        owner,
        abi_encode(hash, signature, method_id=_MAGIC),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    return done and len(answer) == 32 and convert(answer, bytes32) == convert(_MAGIC, bytes32)
