// Writes account_leaf.json, position_hash.json, checkpoint.json, header.json and bundle.json with an ABI encoder and a
// hash that share nothing with ours:
//   npm install --prefix "$DIR" @metamask/abi-utils@2.0.4 @noble/hashes@1.8.0
//   NODE_PATH="$DIR/node_modules" node tests/vectors/words.mjs tests/vectors
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { encode } = require("@metamask/abi-utils");
const { keccak_256 } = require("@noble/hashes/sha3");

const hex = (bytes) => `0x${Buffer.from(bytes).toString("hex")}`;
const bytes = (text) => Buffer.from(text.slice(2), "hex");
const word = (value) => `0x${BigInt.asUintN(256, value).toString(16).padStart(64, "0")}`;
const keccak = (data) => hex(keccak_256(data));
const hashed = (types, values) => keccak(encode(types, values));
const label = (text) => keccak(Buffer.from(text));
const save = (name, cases) => writeFileSync(`${process.argv[2]}/${name}.json`, JSON.stringify({
  source: "@metamask/abi-utils 2.0.4, @noble/hashes 1.8.0 (npm); words.mjs beside this file", cases,
}, null, 1) + "\n");

// Account leaves and checkpoints: none, one, two and four underlyings, fields at their ends.
const ACCOUNT = ["uint256", "bytes32", "uint256", "uint256[]"];
const lane = (values) => values.reduce((sum, value, i) => sum | ((BigInt(value) + (1n << 63n)) << BigInt(64 * i)), 0n);
const vectors = (count, seed) => Array.from({ length: 10 * count }, (_, w) =>
  lane([0, 1, 2, 3].map((i) => ((seed * BigInt(4 * w + i + 1)) % (1n << 63n)) * (i % 2 ? -1n : 1n))));
const extreme = [(1n << 63n) - 1n, -((1n << 63n) - 1n), 0n, -1n];
const accounts = [
  { account: 256n, underlyings: [1], open: 1n, sum: 1n, closeout: 0n, collateral: 0n, vectors: vectors(1, 7n) },
  { account: 257n, underlyings: [1, 2], open: 64n, sum: 123456789n, closeout: 987654321n, collateral: 5n,
    vectors: vectors(2, 0x123456789abcdn) },
  { account: (1n << 64n) - 1n, underlyings: [1, 2, 300, 65535], open: 128n, sum: (1n << 32n) - 1n,
    closeout: (1n << 128n) - 1n, collateral: (1n << 128n) - 1n, vectors: Array(40).fill(lane(extreme)) },
];
const leaves = accounts.map((item, i) => {
  const head = (item.account << 192n) | (item.open << 64n) | item.sum
    | item.underlyings.reduce((sum, u, k) => sum | (BigInt(u) << BigInt(176 - 16 * k)), 0n);
  const cost = (item.closeout << 128n) | item.collateral;
  const positionHash = label(`position hash ${i}`);
  return { item, head, cost, positionHash, values: [head, positionHash, cost, item.vectors] };
});
save("account_leaf", leaves.map(({ item, head, cost, positionHash, values }) => ({
  account: Number(item.account) > 2 ** 53 ? item.account.toString() : Number(item.account),
  underlyings: item.underlyings, open: Number(item.open), sum_abs: Number(item.sum),
  closeout: item.closeout.toString(), collateral: item.collateral.toString(),
  head: word(head), position_hash: positionHash, cost: word(cost), vectors: item.vectors.map(word),
  encoded: hex(encode(ACCOUNT, values)), hash: keccak(bytes(hashed(ACCOUNT, values))),
})));
save("checkpoint", leaves.map(({ head, cost, positionHash, values }, i) => {
  const epoch = [0n, 439822n, (1n << 64n) - 1n][i];
  return { epoch: epoch.toString(), head: word(head), position_hash: positionHash, cost: word(cost),
    vectors: values[3].map(word), checkpoint: hashed(["uint256", "bytes32"], [epoch, hashed(ACCOUNT, values)]) };
}));

// Position hashes: a chain of changes of one account.
const perpetual = (1n << 88n) | 1n;
const call = (2n << 88n) | (1585296000n << 56n) | (200000000n << 8n) | 3n;
let h = word(0n);
save("position_hash", [[perpetual, 5n], [call, -12n], [perpetual, -5n], [call, (1n << 32n) - 1n], [call, -(1n << 32n)]]
  .map(([instrument, change]) => {
    const before = h;
    h = hashed(["bytes32", "uint256", "uint256", "int256"], [before, 300n, instrument, change]);
    return { before, account: 300, instrument: word(instrument), change: Number(change), after: h };
  }));

// Headers.
const mark = (m) => (m.underlying << 240n) | (m.index << 176n) | (BigInt.asUintN(64, m.funding) << 112n)
  | (m.scan_range << 80n) | (m.status << 72n);
const HEADER = ["(uint64,uint64,uint64,bytes32,uint64,bytes32,uint256,bytes32,bytes32,bytes32,uint256[])"];
const marks = [
  { underlying: 1n, index: 7911430000n, funding: -1234n, scan_range: 160000n, status: 1n },
  { underlying: 2n, index: 194610000n, funding: 77n, scan_range: 180000n, status: 2n },
  { underlying: 65535n, index: (1n << 64n) - 1n, funding: -(1n << 63n), scan_range: (1n << 32n) - 1n, status: 3n },
];
save("header", [marks.slice(0, 2), [], marks].map((list, i) => {
  const header = [439822n + BigInt(i), 1583359200n, 1000n + BigInt(i), label("block"), 3n, label("policy"), BigInt(i) * 12345678901n,
    label("instruments"), label("accounts"), label("bundle"), list.map(mark)];
  const encoded = encode(HEADER, [header]);
  return {
    fields: header.slice(0, 10).map((field) => (typeof field === "bigint" ? Number(field) : field)),
    marks: list.map((m) => ({ ...Object.fromEntries(Object.entries(m).map(([k, v]) => [k, v.toString()])), word: word(mark(m)) })),
    encoded: hex(encoded), hash: keccak(encoded),
  };
}));

// Bundle: sorted keys, no spaces.
const sorted = (value) => {
  if (Array.isArray(value)) return `[${value.map(sorted).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${sorted(value[key])}`).join(",")}}`;
};
const text = sorted({
  version: 1, chain_id: 31337, oracle: `0x${"ab".repeat(20)}`, committee_set: 1, epoch: 439822, timestamp: 1583359200,
  snapshot_block: 1000, snapshot_hash: label("block"), policy: "0x0102", marks: marks.slice(0, 2).map((m) => word(mark(m))),
  instruments: [[word(perpetual << 152n), ...[1n, 2n, 3n, 4n, 5n].map(word)]], settlements: [word(9n << 144n)],
  accounts: leaves.slice(0, 2).map(({ head, positionHash, cost, values }) => [word(head), positionHash, word(cost), values[3].map(word)]),
  observations: [{ member: 2, body: { b: 2, a: { "1": -5 } }, signature: `0x${"0c".repeat(128)}` }],
});
save("bundle", [{ text, hash: keccak(Buffer.from(text)) }]);
