# pragma version 0.4.3
"""
@title Margin
@license GNU Affero General Public License v3.0 only
@notice The one rule: an account is safe when its portfolio is worth at least its close-out cost in every scenario.

            PV        = cash + sum_u PV_u[0]
            risk_u    = PV_u[0] - min_s PV_u[s]
            joint     = sum_u PV_u[0] - min_s sum_u PV_u[s]
            risk      = sum_u risk_u - floor(kappa * (sum_u risk_u - joint))
            closeout  = sum_i (long_i * c_long_i + short_i * c_short_i) + K if a position is open
            MM excess = PV - (risk + closeout)
            IM excess = PV - ceil(im_factor * (risk + closeout))

        An account is HEALTHY while IM excess >= 0 and quote equity >= 0, where

            quote equity = PV - value of collateral tokens at the mark

        Integers in micro-USD, exact; `kappa` and `im_factor` in 1e-4. The margin content of an account is its leaf without
        the position hash: head, cost, and one scenario vector for each underlying of the head, ascending.
"""

from interfaces import IMargin
from lib import constants
from lib import instrument
from lib import risk_array


# @dev `cost` is close-out without K (u128, high) and value of collateral tokens (u128, low).
struct Content:
    head: uint256
    cost: uint256
    vectors: DynArray[uint256, constants.MAX_VECTOR_WORDS]


@pure
@internal
def _open_positions(head: uint256) -> uint256:
    """
    @dev Count of open positions.
    @param head The account's head.
    """
    return (head >> 64) & constants.MASK_64


@pure
@internal
def _find(head: uint256, underlying: uint256) -> (uint256, bool):
    """
    @dev Where an underlying stands, or would stand, among a head's underlyings, and whether it is there.
    @param head The account's head.
    @param underlying The underlying, not zero.
    """
    for i: uint256 in range(constants.MAX_UNDERLYINGS):
        other: uint256 = (head >> unsafe_sub(176, unsafe_mul(16, i))) & constants.MASK_16
        if other == underlying:
            return (i, True)
        if other == 0 or other > underlying:
            return (i, False)
    return (constants.MAX_UNDERLYINGS, False)


@pure
@internal
def _underlyings(head: uint256) -> uint256:
    """
    @dev How many underlyings a head names. They are ascending from the top, then zeros.
    @param head The account's head.
    """
    if (head >> 176) & constants.MASK_16 == 0:
        return 0
    if (head >> 160) & constants.MASK_16 == 0:
        return 1
    if (head >> 144) & constants.MASK_16 == 0:
        return 2
    if (head >> 128) & constants.MASK_16 == 0:
        return 3
    return 4


@pure
@internal
def _apply(
    content: Content,
    leg: IMargin.Leg,
    change: int256,
    before: int256,
    head: uint256,
) -> Content:
    """
    @dev The content after a position changed. Exact because everything is linear in positions: the vector of the leg's
         underlying changes by `change * v`, the close-out by the difference of two products. An underlying that enters gets
         a vector of its own in ascending place; one that leaves had only this position, so its vector is zero in every lane
         and is dropped. The result is the canonical content for `head`, the same words as a recomputation from all legs.
    @param content Content before.
    @param leg The instrument's proven leaf.
    @param change Signed lots by which the position changes.
    @param before Signed lots before.
    @param head The account's head after, from the ledger.
    """
    underlying: uint256 = instrument._underlying(instrument._id(leg.meta))
    place: uint256 = 0
    known: bool = False
    place, known = self._find(content.head, underlying)
    next_place: uint256 = 0
    stays: bool = False
    next_place, stays = self._find(head, underlying)

    closeout: uint256 = (content.cost >> 128) + instrument._closeout(leg.meta, before + change)
    old: uint256 = instrument._closeout(leg.meta, before)
    assert closeout >= old, "margin: close-out below zero"

    collateral: uint256 = content.cost & constants.MASK_128
    if instrument._kind(instrument._id(leg.meta)) == constants.TOKEN:
        value: int256 = convert(collateral, int256) + change * risk_array._mark(leg.array)
        assert value >= 0, "margin: collateral below zero"
        collateral = convert(value, uint256)
    after: Content = Content(head=head, cost=(closeout - old) << 128 | collateral, vectors=content.vectors)
    start: uint256 = place * constants.VECTOR_WORDS
    count: uint256 = len(content.vectors)
    if not known:
        for k: uint256 in range(constants.VECTOR_WORDS):
            after.vectors.append(constants.BIAS_63)
        for k: uint256 in range(start, count, bound=30):
            after.vectors[k + constants.VECTOR_WORDS] = content.vectors[k]
        for k: uint256 in range(constants.VECTOR_WORDS):
            after.vectors[start + k] = constants.BIAS_63
    if not stays:
        for k: uint256 in range(start + constants.VECTOR_WORDS, len(after.vectors), bound=30):
            after.vectors[k - constants.VECTOR_WORDS] = after.vectors[k]
        for k: uint256 in range(constants.VECTOR_WORDS):
            after.vectors.pop()
        return after

    lots: uint256 = convert(convert(change, bytes32), uint256)  # modulo 2^256
    sums: uint256[10] = risk_array._accumulate(empty(uint256[10]), leg.array, lots)
    bias: uint256 = unsafe_mul(lots, constants.BIAS_31)
    for k: uint256 in range(constants.VECTOR_WORDS):
        at: uint256 = start + k
        after.vectors[at] = unsafe_add(after.vectors[at], unsafe_sub(sums[k], bias))
    return after


@pure
@internal
def _with_vector(content: Content, sums: uint256[10], net: uint256) -> Content:
    """
    @dev A content with one vector more.
    @param content The content.
    @param sums Sums of `risk_array._accumulate`, from zero.
    @param net Sum of the quantities accumulated, modulo 2^256.
    """
    bias: uint256 = risk_array._bias(net)
    after: Content = content
    for k: uint256 in range(constants.VECTOR_WORDS):
        after.vectors.append(unsafe_add(sums[k], bias))
    return after


@pure
@internal
def _evaluate(content: Content, cash: int256, parameters: uint256) -> IMargin.Margin:
    """
    @dev The margin of an account. A credit is floored, the initial requirement ceiled: both against the account. Lanes are
         exact by lib/risk_array.vy; their sum over underlyings too, because `sum |q|` is bounded for the whole account:
         with `B` vectors, `sum_u (2^63 + x_u) - (B - 1) 2^63 = 2^63 + sum_u x_u` is in `(0, 2^64)`.
    @param content Margin content, believed or built from proven legs.
    @param cash Signed micro-USD.
    @param parameters The word of margin parameters of the epoch.
    """
    count: uint256 = len(content.vectors)
    value: int256 = cash
    risk: uint256 = 0
    for u: uint256 in range(constants.MAX_UNDERLYINGS):
        start: uint256 = u * constants.VECTOR_WORDS
        if start >= count:
            break
        mark: uint256 = content.vectors[start] & constants.MASK_64
        lowest: uint256 = mark
        for k: uint256 in range(constants.VECTOR_WORDS):
            word: uint256 = content.vectors[unsafe_add(start, k)]  # risk_array._lowest, in line: every check pays for it
            lane: uint256 = word & constants.MASK_64
            if lane < lowest:
                lowest = lane
            lane = (word >> 64) & constants.MASK_64
            if lane < lowest:
                lowest = lane
            lane = (word >> 128) & constants.MASK_64
            if lane < lowest:
                lowest = lane
            lane = word >> 192
            if lane < lowest:
                lowest = lane
        value += convert(mark, int256) - 2**63
        risk += unsafe_sub(mark, lowest)
    if count > constants.VECTOR_WORDS:
        kappa: uint256 = parameters & constants.MASK_16
        risk -= kappa * (risk - self._joint(content.vectors)) // constants.ONE

    closeout: uint256 = content.cost >> 128
    if self._open_positions(content.head) != 0:
        closeout += (parameters >> 32) & (2**48 - 1)
    requirement: uint256 = risk + closeout
    im_factor: uint256 = (parameters >> 16) & constants.MASK_16
    initial: uint256 = (im_factor * requirement + constants.ONE - 1) // constants.ONE
    return IMargin.Margin(
        pv=value,
        risk=convert(risk, int256),
        closeout=convert(closeout, int256),
        mm_excess=value - convert(requirement, int256),
        im_excess=value - convert(initial, int256),
    )


@pure
@internal
def _collateral(content: Content) -> int256:
    """
    @dev Value of an account's collateral tokens at the mark, micro-USD.
    @param content Margin content.
    """
    return convert(content.cost & constants.MASK_128, int256)


@pure
@internal
def _is_healthy(content: Content, found: IMargin.Margin) -> bool:
    """
    @dev Whether an account is HEALTHY. Below, dollars are short or owed against tokens.
    @param content Margin content.
    @param found What `_evaluate` found of it.
    """
    return found.im_excess >= 0 and found.pv >= self._collateral(content)


@pure
@internal
def _joint(vectors: DynArray[uint256, constants.MAX_VECTOR_WORDS]) -> uint256:
    """
    @dev Fall from mark to the worst row of the sum over underlyings, micro-USD: four lanes at a time, then one minimum.
    @param vectors Two to four scenario vectors.
    """
    count: uint256 = len(vectors)
    mark: uint256 = 0
    lowest: uint256 = max_value(uint256)
    for k: uint256 in range(constants.VECTOR_WORDS):
        word: uint256 = unsafe_add(vectors[k], unsafe_sub(vectors[k + constants.VECTOR_WORDS], constants.BIAS_63))
        for u: uint256 in range(2, constants.MAX_UNDERLYINGS):
            start: uint256 = u * constants.VECTOR_WORDS
            if start >= count:
                break
            word = unsafe_add(word, unsafe_sub(vectors[unsafe_add(start, k)], constants.BIAS_63))
        if k == 0:
            mark = word & constants.MASK_64
        lowest = min(lowest, risk_array._lowest(word))
    return mark - lowest


@pure
@internal
def _digest(content: Content, position_hash: bytes32) -> bytes32:
    """
    @dev `keccak256(abi.encode(head, position_hash, cost, vectors))`: hashed once more it is an account leaf, hashed with the
         epoch a checkpoint.
    @param content Margin content.
    @param position_hash The account's current position hash.
    """
    return keccak256(abi_encode(content.head, position_hash, content.cost, content.vectors))
