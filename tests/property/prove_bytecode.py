"""What packed words promise, for all inputs, on the compiled bytecode: by halmos, which is not among the dependencies.

python -m venv somewhere && somewhere/bin/pip install halmos==0.3.3
python tests/property/prove_bytecode.py somewhere/bin/halmos

`contracts/mocks/ArithmeticClaims.vy` imports the very modules of the contracts. halmos runs its functions on symbols
and asks z3 whether any path can end in `Panic(1)`. It wants a Solidity project, so one is made up around the bytecode,
and a `forge` that has nothing to do. A flaw planted in a copy of a module must be found too. Exits with 1 if a promise
is broken or not decided, or the flaw is not found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from offchain.chain.artifacts import Artifact, artifact  # noqa: E402
from offchain.chain.variants import variant  # noqa: E402
from offchain.oracle.trees import keccak256  # noqa: E402

NAME, SECONDS = "ArithmeticClaims", 300
CLAIMS = ("check_lots", "check_cash", "check_counts", "check_lowest", "check_lanes", "check_long", "check_closeout")
PLANTED = ("check_lots", [("uint256) & _LOTS_LANE", "uint256) & (_LOTS_LANE >> 1)")])


def project(folder: Path, made: Artifact) -> None:
    """What halmos takes for the output of a Solidity compiler, and a `forge` that finds nothing to build."""
    functions = [each for each in made.abi if each["type"] == "function"]
    signatures = [f"{each['name']}({','.join(given['type'] for given in each['inputs'])})" for each in functions]
    source = {"sourceMap": "", "linkReferences": {}}
    node = {"nodeType": "ContractDefinition", "name": NAME, "contractKind": "contract", "abstract": False}
    body = {
        "abi": list(made.abi),
        "bytecode": {"object": "0x" + made.bytecode.hex(), **source},
        "deployedBytecode": {"object": "0x" + made.runtime.hex(), **source},
        "methodIdentifiers": {each: keccak256(each.encode())[:4].hex() for each in signatures},
        "metadata": {"compiler": {"version": "0.8.30"}},
        "id": 0,
        "ast": {"absolutePath": f"{NAME}.sol", "nodes": [node]},
    }
    out = folder / "out" / f"{NAME}.sol"
    out.mkdir(parents=True)
    (out / f"{NAME}.json").write_text(json.dumps(body))
    forge = folder / "forge"
    forge.write_text("#!/bin/sh\nexit 0\n")
    forge.chmod(0o755)


def verdict(halmos: str, made: Artifact, claim: str) -> str:
    """What halmos says of a claim: PASS, FAIL, TIMEOUT or ERROR."""
    with tempfile.TemporaryDirectory() as scratch:
        project(Path(scratch), made)
        told = ["--root", scratch, "--contract", NAME, "--function", claim, "--loop", "64", "--no-status"]
        told += ["--solver-timeout-assertion", "60000"]
        paths = {**os.environ, "PATH": f"{scratch}{os.pathsep}{os.environ['PATH']}"}
        ran = subprocess.run([halmos, *told], env=paths, capture_output=True, text=True, timeout=SECONDS, check=False)
    return next((word for word in ("FAIL", "TIMEOUT", "ERROR", "PASS") if f"[{word}]" in ran.stdout), "ERROR")


def main(halmos: str) -> int:
    """All claims, then the planted flaw."""
    sound, flaw = artifact(f"mocks/{NAME}"), PLANTED[0]
    good = 0
    for claim in CLAIMS:
        found = verdict(halmos, sound, claim)
        good += found == "PASS"
        print(f"{claim}: {'proven' if found == 'PASS' else found}", flush=True)
    found = verdict(halmos, variant(f"mocks/{NAME}", PLANTED[1]), flaw)
    print(f"{flaw} of a flawed copy: {'broken, as it should be' if found == 'FAIL' else found}")
    print(f"{good} of {len(CLAIMS)} proven")
    return 0 if good == len(CLAIMS) and found == "FAIL" else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: prove_bytecode.py HALMOS, the path of its program")
    sys.exit(main(sys.argv[1]))
