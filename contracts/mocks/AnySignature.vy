# pragma version 0.4.3
"""
@title AnySignature
@license GNU Affero General Public License v3.0 only
@notice ACCEPTS ANYTHING. Stands in for the committee where a chain in process has no BLS12-381 precompiles, so that tests
        and simulations can post headers there. It proves nothing and belongs on no other chain.
"""


@view
@external
def verify(set_id: uint256, digest: bytes32, mask: uint256, signature: Bytes[256]) -> bool:
    """
    @notice Accept any signature of any set over any digest.
    @param set_id Ignored.
    @param digest Ignored.
    @param mask Ignored.
    @param signature Ignored.
    @return bool True.
    """
    return True
