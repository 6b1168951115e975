// A js-libp2p node that does as it is told: a JSON line in, a JSON line out (tests/mesh/control.py says which).
// With `plain`, a payload is a gossip message of its own, which is how the library is measured; otherwise it takes
// part in a topic of ours: frames signed by the topic's key, in batches, and questions on a stream.
import "./polyfill.mjs";
import { createInterface } from "node:readline";
import { noise } from "@chainsafe/libp2p-noise";
import { yamux } from "@chainsafe/libp2p-yamux";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { gossipsub } from "@libp2p/gossipsub";
import { identify } from "@libp2p/identify";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { decodeBatch, encodeBatch, open, seal, topicId, writeKey } from "./frames.mjs";
import * as ask from "./messages.mjs";

const config = JSON.parse(process.argv[2]);
const key = writeKey(Buffer.from(config.topic, "hex"));
const topic = config.plain ? "load" : "vcd/1/" + topicId(key.public).toString("hex");
const HEADER = 20;
const LARGEST = (4 << 20) + 65536;

const node = await createLibp2p({
  privateKey: await generateKeyPairFromSeed("Ed25519", Buffer.from(config.identity, "hex")),
  addresses: { listen: [`/ip4/127.0.0.1/tcp/${config.port}`] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: { inboundConnectionThreshold: 1000 },
  services: {
    identify: identify(),
    ping: ping(),
    pubsub: gossipsub({
      allowPublishToZeroTopicPeers: true,
      maxInboundDataLength: LARGEST,
      maxOutboundBufferSize: 64 << 20,
      messageProcessingConcurrency: 64,
    }),
  },
});
const gossip = node.services.pubsub;

// ---------------------------------------------------------------- what came

let tally;
const reset = () => {
  tally = { held: new Map(), latencies: [], doubles: 0, strange: 0, first: null, last: null };
};
const counters = { batches: 0, heads: 0, "not a batch": 0, asked: 0 };
const clock = () => Number(process.hrtime.bigint()) / 1e9;
reset();

function arrived(payload) {
  if (payload.length < HEADER || payload.subarray(0, 4).toString("latin1") !== "load") {
    tally.strange++;
    return;
  }
  const author = payload.readUInt32BE(4);
  const number = payload.readUInt32BE(8);
  if (!tally.held.has(author)) tally.held.set(author, new Set());
  const numbers = tally.held.get(author);
  if (numbers.has(number)) {
    tally.doubles++;
    return;
  }
  numbers.add(number);
  const now = clock();
  tally.latencies.push(now - payload.readDoubleBE(12));
  tally.first ??= now;
  tally.last = now;
}

const pad = (size) => Buffer.alloc(Math.max(size - HEADER, 0));
function load(number, padding) {
  const head = Buffer.alloc(HEADER);
  head.write("load", "latin1");
  head.writeUInt32BE(config.author, 4);
  head.writeUInt32BE(number, 8);
  head.writeDoubleBE(clock(), 12);
  return Buffer.concat([head, padding]);
}

gossip.addEventListener("message", (event) => {
  if (event.detail.topic !== topic) return;
  const data = Buffer.from(event.detail.data);
  if (config.plain) return arrived(data);
  const batch = decodeBatch(data);
  if (batch === null) {
    counters["not a batch"]++;
    return;
  }
  counters.batches++;
  counters.heads += batch.heads;
  for (const frame of batch.frames) {
    const { payload, problem } = open(frame, key.public);
    if (problem === undefined) arrived(payload);
    else counters[problem] = (counters[problem] ?? 0) + 1;
  }
});

function ranges(numbers) {
  const found = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else found.push([number, number]);
  }
  return found;
}

// ---------------------------------------------------------------- questions

await node.handle(
  ask.ASK,
  async (stream) => {
    try {
      const asked = ask.decodeQuestion(await ask.receive(stream));
      counters.asked++;
      if (asked === null) throw new Error("not a question");
      const answer =
        asked.name === "/vcd/echo/1"
          ? Buffer.concat([Buffer.from([ask.ANSWERED]), asked.question])
          : Buffer.from([ask.UNKNOWN]);
      await ask.send(stream, answer);
      await stream.close();
    } catch (error) {
      stream.abort(error);
    }
  },
  { maxInboundStreams: 256 },
);

// ---------------------------------------------------------------- commands

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const quantile = (sorted, share) =>
  sorted.length === 0 ? null : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

const commands = {
  async keep({ peer, addresses }) {
    await node.dial(
      addresses.map((address) => multiaddr(`${address}/p2p/${peer}`)),
      { signal: AbortSignal.timeout(15000) },
    );
    return {};
  },
  async join() {
    gossip.subscribe(topic);
    return {};
  },
  async neighbors() {
    return { count: gossip.getSubscribers(topic).length };
  },
  async publish({ count, size, first = 0, rate = 0 }) {
    const started = clock();
    const padding = pad(size);
    let batch = [];
    const flush = async () => {
      if (batch.length > 0) await gossip.publish(topic, encodeBatch(batch));
      batch = [];
    };
    for (let i = 0; i < count; i++) {
      if (rate > 0) {
        const wait = (started + i / rate - clock()) * 1000;
        if (wait > 0) {
          await flush();
          await pause(wait);
        }
      }
      const payload = load(first + i, padding);
      if (config.plain) await gossip.publish(topic, payload);
      else {
        batch.push(seal(key, payload, Date.now() + 3600_000));
        if (batch.length >= 16 || batch.length * size > 32768) await flush();
      }
      if (rate === 0 && i % 16 === 0) await pause(0);
    }
    await flush();
    return { published: count, seconds: clock() - started, started };
  },
  async report() {
    const sorted = tally.latencies.toSorted((a, b) => a - b);
    let count = 0;
    const held = {};
    for (const [author, numbers] of tally.held) {
      count += numbers.size;
      held[author] = ranges(numbers);
    }
    const { doubles, strange, first, last } = tally;
    return { count, doubles, strange, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), first, last, held };
  },
  async reset() {
    reset();
    return {};
  },
  async counters() {
    return { counters };
  },
  async ask({ peer, protocol, size }) {
    const question = Buffer.alloc(size, 7);
    const connection = node.getConnections().find((one) => one.remotePeer.toString() === peer);
    if (connection === undefined) throw new Error("not connected");
    const stream = await connection.newStream(ask.ASK, { signal: AbortSignal.timeout(20000) });
    const writing = ask.send(stream, ask.encodeQuestion(protocol, question));
    const answer = await ask.receive(stream);
    await writing;
    await stream.close();
    return { status: answer[0], same: answer.subarray(1).equals(question) };
  },
  async ping({ peer }) {
    const connection = node.getConnections().find((one) => one.remotePeer.toString() === peer);
    return { milliseconds: await node.services.ping.ping(connection.remotePeer) };
  },
};

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
async function obey(order) {
  try {
    if (commands[order.do] === undefined) throw new Error(`a worker of this kind does not know ${order.do}`);
    say({ id: order.id, ok: await commands[order.do](order) });
  } catch (error) {
    say({ id: order.id, error: String(error?.stack ?? error).slice(0, 500) });
  }
}

say({
  id: 0,
  ok: {
    peer: node.peerId.toString(),
    addresses: node.getMultiaddrs().map((address) => address.toString().split("/p2p/")[0]),
  },
});
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.do === "stop") {
    say({ id: order.id, ok: {} });
    break;
  }
  obey(order);
}
process.exit(0);
