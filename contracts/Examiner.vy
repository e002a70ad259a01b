# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Examiner
@license GNU Affero General Public License v3.0 only
@notice The witness that always works: an account's margin content built from all its positions, each leg proven under the
        latest epoch. Anyone may have any account examined; the checkpoint then serves its next actions. At once, or part by part
        in several transactions, with the same result.
@custom:security Needs transient storage (EIP-1153) and memory copying (EIP-5656). Believes the latest header of the oracle.
@custom:kill Nothing here can be stopped, and no state of the oracle but a halt stops it.
"""

from interfaces import IExaminer
from interfaces import ILedger
from interfaces import IMargin
from interfaces import IRiskOracle
from lib import constants
from lib import engine
from lib import instrument
from lib import margin
from lib import merkle
from lib import risk_array

implements: IExaminer
initializes: engine

exports: (
    engine.ledger,
    engine.oracle,
)


# @dev By account: keccak256(abi.encode(epoch, position hash, part)) of a check that is under way. It stands for nothing once
#      the epoch or a position has changed: then no part can match it.
_stages: HashMap[uint256, bytes32]


@deploy
def __init__(ledger: address, oracle: address):
    """
    @notice Bind the examiner to its ledger and oracle for ever.
    @param ledger The ledger, which must name this contract as an engine.
    @param oracle The risk oracle.
    """
    engine.__init__(ledger, oracle)


# Anyone


@external
def check_full(
    account: uint256,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
) -> IMargin.Margin:
    """
    @notice Build an account's margin content from all its positions and store its checkpoint, so that the next actions
            under this epoch can name it. Anyone may call; it always works, however the account's leaf stands.
    @dev The legs are ascending, so none is repeated; each is a position of the account, and they are as many as it has open,
         so none is left out.
    @param account The account.
    @param legs Leaves of all instruments in which it has a position, ids ascending.
    @param proof Hashes of the multiproof.
    @param flags Flags of the multiproof, packed.
    @return Margin The account's margin.
    """
    engine._enter()
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_instruments()
    state: ILedger.Account = engine._holdings(account)
    count: uint256 = margin._open_positions(state.head)
    assert count != 0, "examiner: account has no positions"
    assert len(legs) == count, "examiner: not all positions"

    ids: DynArray[uint256, constants.MAX_POSITIONS] = []
    last: uint256 = 0
    for leg: IMargin.Leg in legs:
        id: uint256 = leg.meta >> 152
        assert id > last, "examiner: legs not ascending"
        last = id
        ids.append(id)
    quantities: DynArray[int256, constants.MAX_POSITIONS] = staticcall engine.ledger.quantities(account, ids)

    content: margin.Content = margin.Content(head=state.head, cost=0, vectors=[])
    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    closeout: uint256 = 0
    collateral: uint256 = 0
    sums: uint256[10] = empty(uint256[10])
    net: uint256 = 0
    underlying: uint256 = instrument._underlying(ids[0])
    i: uint256 = 0
    for leg: IMargin.Leg in legs:
        leaves[i] = keccak256(keccak256(abi_encode(leg)))
        quantity: int256 = quantities[i]
        assert quantity != 0, "examiner: no such position"
        if (leg.meta >> 152) & constants.MASK_8 == constants.TOKEN:
            collateral += convert(quantity * risk_array._mark(leg.array), uint256)
        i = unsafe_add(i, 1)
        if leg.meta >> 240 != underlying:
            underlying = leg.meta >> 240
            content = margin._with_vector(content, sums, net)
            sums = empty(uint256[10])
            net = 0
        closeout = unsafe_add(closeout, instrument._closeout(leg.meta, quantity))
        lots: uint256 = convert(convert(quantity, bytes32), uint256)
        sums = risk_array._accumulate(sums, leg.array, lots)
        net = unsafe_add(net, lots)
    content = margin._with_vector(content, sums, net)
    assert merkle._root_of_many(leaves, count, proof, flags) == latest.instrument_root, "examiner: legs not proven"
    content.cost = closeout << 128 | collateral

    found: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
    engine._store(state, content, latest.epoch)
    log IExaminer.FullyChecked(account=account, epoch=latest.epoch, margin=found)
    engine._leave()
    return found


@external
def check_part(
    account: uint256,
    part: IExaminer.Part,
    legs: DynArray[IMargin.Leg, constants.MAX_POSITIONS],
    proof: DynArray[bytes32, constants.MAX_MULTIPROOF],
    flags: DynArray[uint256, constants.MAX_FLAG_WORDS],
) -> IExaminer.Part:
    """
    @notice Full check in parts: the next legs of an account, of one underlying or of more. With the last the checkpoint is
            stored as by `check_full`, to the bit. Anyone may go on with what anyone began; an empty part begins anew.
    @dev The part that is brought must be the one that the last call left, under the same epoch and position hash: only its hash
         is kept. Ids ascend across parts, and in the end the legs are as many as the account has open.
    @param account The account.
    @param part What the calls before left: zeros and no vectors to begin.
    @param legs Leaves of the next instruments in which it has a position, ids ascending.
    @param proof Hashes of their multiproof.
    @param flags Flags of the multiproof, packed.
    @return Part What this call leaves.
    """
    engine._enter()
    latest: IRiskOracle.Latest = staticcall engine.oracle.latest_instruments()
    state: ILedger.Account = engine._holdings(account)
    if part.count == 0:
        assert part.last == 0 and part.cost == 0 and len(part.vectors) == 0, "examiner: malformed part"
    else:
        kept: bytes32 = keccak256(abi_encode(latest.epoch, state.position_hash, part))
        assert self._stages[account] == kept, "examiner: another part, epoch or position"
    size: uint256 = len(legs)
    assert size != 0, "examiner: no legs"
    count: uint256 = part.count + size
    assert count <= margin._open_positions(state.head), "examiner: more than all positions"

    after: IExaminer.Part = part
    after.count = count
    ids: DynArray[uint256, constants.MAX_POSITIONS] = []
    for leg: IMargin.Leg in legs:
        id: uint256 = instrument._id(leg.meta)
        assert id > after.last, "examiner: legs not ascending"
        after.last = id
        ids.append(id)
    quantities: DynArray[int256, constants.MAX_POSITIONS] = staticcall engine.ledger.quantities(account, ids)

    leaves: bytes32[constants.MAX_POSITIONS] = empty(bytes32[constants.MAX_POSITIONS])
    sums: uint256[10] = empty(uint256[10])
    net: uint256 = 0
    underlying: uint256 = part.last >> 88  # whose vector is the last of `after`
    i: uint256 = 0
    for leg: IMargin.Leg in legs:
        leaves[i] = keccak256(keccak256(abi_encode(leg)))
        quantity: int256 = quantities[i]
        assert quantity != 0, "examiner: no such position"
        i = unsafe_add(i, 1)
        if leg.meta >> 240 != underlying:
            underlying = leg.meta >> 240
            after.vectors = self._added(after.vectors, sums, net)
            sums = empty(uint256[10])
            net = 0
            for k: uint256 in range(constants.VECTOR_WORDS):
                after.vectors.append(constants.BIAS_63)
        after.cost += instrument._closeout(leg.meta, quantity) << 128
        if (leg.meta >> 152) & constants.MASK_8 == constants.TOKEN:
            after.cost += convert(quantity * risk_array._mark(leg.array), uint256)
        lots: uint256 = convert(convert(quantity, bytes32), uint256)  # modulo 2^256
        sums = risk_array._accumulate(sums, leg.array, lots)
        net = unsafe_add(net, lots)
    after.vectors = self._added(after.vectors, sums, net)
    assert merkle._root_of_many(leaves, size, proof, flags) == latest.instrument_root, "examiner: legs not proven"

    if count == margin._open_positions(state.head):
        content: margin.Content = margin.Content(head=state.head, cost=after.cost, vectors=after.vectors)
        found: IMargin.Margin = margin._evaluate(content, state.cash, latest.margin)
        self._stages[account] = empty(bytes32)
        engine._store(state, content, latest.epoch)
        log IExaminer.FullyChecked(account=account, epoch=latest.epoch, margin=found)
    else:
        self._stages[account] = keccak256(abi_encode(latest.epoch, state.position_hash, after))
        log IExaminer.PartlyChecked(account=account, epoch=latest.epoch, part=after)
    engine._leave()
    return after


# Internal


@pure
@internal
def _added(
    vectors: DynArray[uint256, constants.MAX_VECTOR_WORDS], sums: uint256[10], net: uint256
) -> DynArray[uint256, constants.MAX_VECTOR_WORDS]:
    """
    @dev Vectors with sums of biased risk arrays added to the last.
    @param vectors Words of the vectors; with none there are no sums.
    @param sums Sums of biased words.
    @param net Sum of the lots, modulo 2^256, by which the bias is too much.
    """
    added: DynArray[uint256, constants.MAX_VECTOR_WORDS] = vectors
    if len(vectors) != 0:
        bias: uint256 = unsafe_mul(net, constants.BIAS_31)
        start: uint256 = unsafe_sub(len(vectors), constants.VECTOR_WORDS)
        for k: uint256 in range(constants.VECTOR_WORDS):
            at: uint256 = unsafe_add(start, k)
            added[at] = unsafe_add(added[at], unsafe_sub(sums[k], bias))
    return added
