// Checks split keys with @noble/curves: reads a JSON list from standard input, prints one line of JSON with each result.
import { schnorr, secp256k1 } from '@noble/curves/secp256k1'
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils'

const Point = secp256k1.Point ?? secp256k1.ProjectivePoint
const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
const number = (bytes) => BigInt('0x' + bytesToHex(bytes))
const tagged = (tag, ...parts) => schnorr.utils.taggedHash(tag, concatBytes(...parts))

// BIP-327, KeyAgg of two keys and one x-only tweak: the x coordinate of the whole.
function aggregate(a, b, tweak) {
  const list = tagged('KeyAgg list', hexToBytes(a), hexToBytes(b))
  const coefficient = number(tagged('KeyAgg coefficient', list, hexToBytes(a))) % order
  let whole = Point.fromHex(a).multiply(coefficient).add(Point.fromHex(b))
  if (whole.toAffine().y % 2n === 1n) whole = whole.negate()
  if (tweak) whole = whole.add(Point.BASE.multiply(BigInt('0x' + tweak)))
  return whole.toAffine().x.toString(16).padStart(64, '0')
}

const check = (row) => ({
  aggregate: aggregate(row.half_a, row.half_b, row.tweak) === row.public_key,
  whole: bytesToHex(schnorr.getPublicKey(row.whole)) === row.public_key,
  signature: schnorr.verify(row.signature, row.message, row.public_key),
  joint: bytesToHex(secp256k1.getSharedSecret(row.whole, '02' + row.peer).slice(1)) === row.joint,
  authorisation: secp256k1.verify(row.authorisation, row.message, row.authoriser, { lowS: true, prehash: false }),
})

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
console.log(JSON.stringify(JSON.parse(Buffer.concat(chunks)).map(check)))
