// Frames and batches of them, as transport/frames.py and transport/gossip/batch.py describe them; written from
// those descriptions alone, so that what they say and what the program does are held against each other.
import { createHash, createPrivateKey, createPublicKey, sign, verify } from "node:crypto";

const CONTEXT = Buffer.from("vcd frame 1");
const SIGNED = 77;
const HEAD = SIGNED + 64;
const WHOLE = 1;
const HEAD_ONLY = 2;
const MAX_PAYLOAD = 4 << 20;

const sha256 = (data) => createHash("sha256").update(data).digest();

export function writeKey(seed) {
  // The fixed start of an Ed25519 key in PKCS 8 and in SubjectPublicKeyInfo: 16 and 12 bytes.
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]),
    format: "der",
    type: "pkcs8",
  });
  const encoded = createPublicKey(key).export({ format: "der", type: "spki" });
  return { key, public: encoded.subarray(12) };
}

const publicKey = (raw) =>
  createPublicKey({
    key: Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]),
    format: "der",
    type: "spki",
  });

export const topicId = (key) => sha256(key);

export function seal(key, payload, expires) {
  const signed = Buffer.alloc(SIGNED);
  signed[0] = 1;
  key.public.copy(signed, 1);
  signed.writeBigUInt64BE(BigInt(expires), 33);
  signed.writeUInt32BE(payload.length, 41);
  sha256(payload).copy(signed, 45);
  return Buffer.concat([signed, sign(null, Buffer.concat([CONTEXT, signed]), key.key), payload]);
}

// The payload, or a reason in words why this is not a frame of the topic.
export function open(frame, writer, now = Date.now()) {
  if (frame.length < HEAD) return { problem: "short" };
  if (frame[0] !== 1) return { problem: "version" };
  const size = frame.readUInt32BE(41);
  const expires = Number(frame.readBigUInt64BE(33));
  if (size > MAX_PAYLOAD || frame.length !== HEAD + size) return { problem: "size" };
  if (!frame.subarray(1, 33).equals(writer)) return { problem: "stranger" };
  if (expires <= now) return { problem: "expired" };
  const payload = frame.subarray(HEAD);
  if (!sha256(payload).equals(frame.subarray(45, 77))) return { problem: "digest" };
  const signed = Buffer.concat([CONTEXT, frame.subarray(0, SIGNED)]);
  if (!verify(null, signed, publicKey(writer), frame.subarray(SIGNED, HEAD))) return { problem: "forged" };
  return { payload };
}

export function encodeBatch(frames) {
  const parts = [Buffer.from([1])];
  for (const frame of frames) {
    const item = Buffer.alloc(5);
    item[0] = WHOLE;
    item.writeUInt32BE(frame.length, 1);
    parts.push(item, frame);
  }
  return Buffer.concat(parts);
}

// The whole frames of a batch and how many were announced by their head alone; null if it is not a batch.
export function decodeBatch(data) {
  if (data.length === 0 || data[0] !== 1) return null;
  const frames = [];
  let heads = 0;
  let at = 1;
  while (at < data.length) {
    if (at + 5 > data.length) return null;
    const tag = data[at];
    const end = at + 5 + data.readUInt32BE(at + 1);
    if (end > data.length) return null;
    if (tag === WHOLE) frames.push(data.subarray(at + 5, end));
    else if (tag === HEAD_ONLY) heads++;
    else return null;
    at = end;
  }
  return { frames, heads };
}
