"""Local chains: anvil from its npm package, and py-evm in process where Node's package is not there."""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from web3 import Web3
from web3.providers.eth_tester import EthereumTesterProvider

from offchain.chain.artifacts import ROOT
from offchain.chain.backends import DEV_ACCOUNTS, TX_GAS, dev_account
from offchain.chain.web3_chain import Web3Chain
from offchain.config import BallastError

_SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def anvil_binary() -> Path | None:
    """The anvil executable: of the locked npm package, else one on PATH, else None."""
    suffix = f"{_SYSTEMS.get(platform.system(), '')}-{_MACHINES.get(platform.machine(), '')}"
    packaged = ROOT / "node_modules" / "@foundry-rs" / f"anvil-{suffix}" / "bin"
    for name in ("anvil", "anvil.exe"):
        if (packaged / name).exists():
            return packaged / name
    found = shutil.which("anvil")
    return Path(found) if found else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start_anvil(
    timestamp: int | None = None,
    chain_id: int = 31337,
    port: int | None = None,
    hardfork: str = "prague",
    base_fee: int | None = None,
) -> Iterator[Web3Chain]:
    """Run anvil on loopback for the length of a `with`; its log is shown if it does not start.

    Parameters
    ----------
    timestamp : time of the first block, seconds; each block is a second after the last unless set.
    base_fee : of the first block, wei; 0 stays 0 as long as blocks are not full.
    hardfork : whose rules hold. "cancun" has no calldata floor, and no BLS12-381 precompiles.

    Raises
    ------
    BallastError
        There is no anvil, or it did not answer within 20 seconds.
    """
    binary = anvil_binary()
    if binary is None:
        raise BallastError("anvil is not installed: run `make setup` with Node 18 or newer")
    port = port or _free_port()
    options = {
        "--hardfork": hardfork, "--host": "127.0.0.1", "--port": port, "--chain-id": chain_id, "--accounts": 1,
        "--gas-limit": 60_000_000, "--code-size-limit": 24_576,
    }  # fmt: skip
    command = [str(binary), *(str(word) for option in options.items() for word in option)]
    if base_fee is not None:
        command += ["--block-base-fee-per-gas", str(base_fee)]
    if timestamp is not None:
        command += ["--timestamp", str(timestamp)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(400):
                if process.poll() is not None:
                    break
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                except OSError:
                    time.sleep(0.05)
            if process.poll() is not None:
                log.seek(0)
                raise BallastError(f"anvil stopped at once: {log.read().decode(errors='replace')[-500:].strip()}")
            chain = Web3Chain(
                Web3(Web3.HTTPProvider(url, request_kwargs={"timeout": 60})),
                [dev_account(i) for i in range(DEV_ACCOUNTS)],
                gas_limit=TX_GAS,
                name="anvil",
                url=url,
            )
            chain._rpc("anvil_setBlockTimestampInterval", 1)
            for account in chain.accounts:
                chain.fund(account.address)
            yield chain
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start_py_evm() -> Web3Chain:
    """The Python EVM (py-evm) in process: every precompile, no Node, slower; its time starts at the present."""
    from eth_tester import EthereumTester, PyEVMBackend
    from eth_tester.backends.pyevm.main import get_default_genesis_params

    backend = PyEVMBackend(genesis_parameters=get_default_genesis_params({"gas_limit": 60_000_000}))
    chain = Web3Chain(
        Web3(EthereumTesterProvider(EthereumTester(backend))),
        [dev_account(i) for i in range(DEV_ACCOUNTS)],
        gas_limit=TX_GAS,
        name="py-evm in process",
    )
    for account in chain.accounts:
        chain.fund(account.address)
    return chain


@contextmanager
def local_chain(timestamp: int | None = None) -> Iterator[Web3Chain]:
    """Anvil where it is installed, else py-evm in process; `.name` says which."""
    if anvil_binary() is not None:
        with start_anvil(timestamp) as chain:
            yield chain
    else:
        yield start_py_evm()
