// Splits a secret key in the browser: two halves drawn at random and a public tweak that make the key together, each
// half sealed to the signer that is to have it (keys/signing/sealed_halves.py). No server ever has the whole key.
import {
  AEAD_AES_256_GCM,
  CipherSuite,
  KDF_HKDF_SHA256,
  KEM_DHKEM_P256_HKDF_SHA256,
} from "../vendor/hpke/hpke.js";
import { Point } from "../vendor/noble-secp256k1/secp256k1.js";

const ORDER = Point.CURVE().n;
const CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const DOMAIN = "keycast/sealed-half/1\0";
const ascii = (text) => new TextEncoder().encode(text);

export class NotASecretKey extends Error {}

export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const fromHex = (text) => {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw new NotASecretKey();
  return Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
};

const joined = (...parts) => {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};

const toNumber = (bytes) => BigInt(`0x${toHex(bytes)}`);
const toBytes = (number) => fromHex(number.toString(16).padStart(64, "0"));
const modulo = (number) => ((number % ORDER) + ORDER) % ORDER;

// Bech32 (BIP-173), of nsec alone.
const fromNsec = (text) => {
  const lower = text.toLowerCase();
  if ((lower !== text && text.toUpperCase() !== text) || !lower.startsWith("nsec1")) throw new NotASecretKey();
  const values = Array.from(lower.slice(5), (character) => CHARSET.indexOf(character));
  const prefix = Array.from("nsec", (character) => character.charCodeAt(0));
  let check = 1;
  for (const value of [...prefix.map((code) => code >> 5), 0, ...prefix.map((code) => code & 31), ...values]) {
    if (value < 0) throw new NotASecretKey();
    const top = check >>> 25;
    check = ((check & 0x1ffffff) << 5) ^ value;
    [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].forEach((generator, bit) => {
      if ((top >>> bit) & 1) check ^= generator;
    });
  }
  // 32 bytes are 52 groups of five bits, the last four bits of which are nothing; six more are the checksum.
  if (check !== 1 || values.length !== 58 || values[51] & 15) throw new NotASecretKey();
  const bytes = new Uint8Array(32);
  let [bits, have, at] = [0, 0, 0];
  for (const value of values.slice(0, 52)) {
    bits = ((bits << 5) | value) & 0xfff;
    have += 5;
    if (have >= 8 && at < 32) {
      have -= 8;
      bytes[at++] = (bits >> have) & 255;
    }
  }
  return bytes;
};

// The 32 bytes of what a person typed: an nsec, or 64 hexadecimal digits. Throws NotASecretKey.
export const secretOf = (typed) => {
  const text = typed.trim();
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? fromHex(text) : fromNsec(text);
  const number = toNumber(bytes);
  if (number === 0n || number >= ORDER) throw new NotASecretKey();
  return bytes;
};

// SHA-256 with a tag (BIP-340, hash_tag).
const tagged = async (tag, ...parts) => {
  const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const digest = await sha256(ascii(tag));
  return sha256(joined(digest, digest, ...parts));
};

// A random scalar whose public point has an even Y, so that 32 bytes name it.
const evenHalf = () => {
  for (;;) {
    const number = toNumber(crypto.getRandomValues(new Uint8Array(32)));
    if (number === 0n || number >= ORDER) continue;
    const point = Point.BASE.multiply(number);
    return point.toAffine().y & 1n ? [ORDER - number, point.negate()] : [number, point];
  }
};

const sealed = async (half, to, info) => {
  const suite = new CipherSuite(KEM_DHKEM_P256_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
  const { encapsulatedSecret, ciphertext } = await suite.Seal(await suite.DeserializePublicKey(to), half, { info });
  return toHex(joined(encapsulatedSecret, ciphertext));
};

// What the server is sent of a secret key (32 bytes): public keys and the tweak, and both halves sealed. `page` is what
// the server said of the page, in hex.
export const splitKey = async (secret, page) => {
  const whole = toNumber(secret);
  const [[a, pointA], [b, pointB]] = [evenHalf(), evenHalf()];
  // MuSig2's aggregate of both (BIP-327, KeyAgg and KeyAggCoeff): the second key's coefficient is 1.
  const list = await tagged("KeyAgg list", pointA.toBytes(true), pointB.toBytes(true));
  const coefficient = modulo(toNumber(await tagged("KeyAgg coefficient", list, pointA.toBytes(true))));
  const isOdd = (pointA.multiply(coefficient).add(pointB).toAffine().y & 1n) === 1n;
  const together = modulo(coefficient * a + b);
  const tweak = modulo(whole - (isOdd ? ORDER - together : together));
  if (tweak === 0n) throw new Error("the halves alone are the whole: once in 2^256 draws");
  const said = {
    public_key: Point.BASE.multiply(whole).toBytes(true).slice(1),
    half_a: pointA.toBytes(true).slice(1),
    half_b: pointB.toBytes(true).slice(1),
    tweak: toBytes(tweak),
  };
  const ids = [page.tenant, page.key, page.token].map(fromHex);
  const info = (role) => joined(ascii(DOMAIN + role), ...ids, ...Object.values(said));
  const halves = [toBytes(a), toBytes(b)];
  const result = Object.fromEntries(Object.entries(said).map(([name, bytes]) => [name, toHex(bytes)]));
  result.sealed_a = await sealed(halves[0], fromHex(page.signer_key), info("A"));
  result.sealed_b = await sealed(halves[1], fromHex(page.cosigner_key), info("B"));
  for (const half of halves) half.fill(0);
  return result;
};
