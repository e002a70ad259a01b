// Writes merkle.json with an implementation that shares nothing with ours:
//   npm install --prefix "$DIR" @openzeppelin/merkle-tree@1.0.8
//   NODE_PATH="$DIR/node_modules" node tests/vectors/merkle.mjs > tests/vectors/merkle.json
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { StandardMerkleTree } = require("@openzeppelin/merkle-tree");
const { version } = require("@openzeppelin/merkle-tree/package.json");

// Packed flags: flag j is bit j mod 256 of word j / 256.
const pack = (flags) => {
  const words = Array(Math.ceil(flags.length / 256)).fill(0n);
  flags.forEach((flag, j) => { if (flag) words[j >> 8] |= 1n << BigInt(j & 255); });
  return words.map((word) => `0x${word.toString(16)}`);
};
const unique = (list) => [...new Set(list)];
const run = (from, count) => Array.from({ length: count }, (_, i) => from + i);

// A tree over n leaves (uint256), leaf i holding i * i + 1: not monotone in hash, in the order given.
const build = (n) => StandardMerkleTree.of(run(0, n).map((i) => [String(i * i + 1)]), ["uint256"], { sortLeaves: false });

const describe = (n) => {
  const tree = build(n);
  const single = n <= 20 ? unique([0, n >> 1, n - 1]) : [0, 1, 377, 511, 512, n - 1];
  const groups = n <= 20
    ? [[], run(0, n), run(0, (n + 1) >> 1), unique([0, n >> 1, n - 1]), run(0, n).filter((i) => i % 3 === 1)]
    : [run(64, 32).concat(run(512, 32)), run(300, 64), unique([0, 5, 377, n - 1]), run(0, n).filter((i) => i % 3 === 1)];
  return {
    count: n,
    root: tree.root,
    proofs: single.map((index) => ({ index, proof: tree.getProof(index) })),
    multiproofs: groups.map((indices) => {
      const { leaves, proof, proofFlags } = tree.getMultiProof(indices);
      const order = leaves.map(([value]) => run(0, n).find((i) => String(i * i + 1) === value));
      return { indices: order, proof, flags: pack(proofFlags) };
    }),
  };
};

const leaf = (types, fields) => ({
  types, fields, hash: StandardMerkleTree.of([fields], types, { sortLeaves: false }).root,
});
const word = (i) => `0x${(0xb0b0n + BigInt(i) * (1n << 200n)).toString(16).padStart(64, "0")}`;
const vectors = run(1, 20).map(word);

const sizes = [...run(1, 20), 1000, 1024];
console.log(JSON.stringify({
  source: `@openzeppelin/merkle-tree ${version} (npm), StandardMerkleTree with sortLeaves false`,
  leaf: "leaf i of a tree is abi.encode(uint256 i * i + 1)",
  leaves: [
    leaf(["uint256", "uint256[5]"], [word(0), run(1, 5).map(word)]),
    leaf(["uint256", "bytes32", "uint256", "uint256[]"], [word(1), word(2), word(3), vectors.slice(0, 10)]),
    leaf(["uint256", "bytes32", "uint256", "uint256[]"], [word(4), word(5), word(6), vectors]),
    leaf(["uint256"], [word(7)]),
  ],
  trees: sizes.map(describe),
}));
