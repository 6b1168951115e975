import { createConnection } from "node:net";
import { decodeMultiStream, encode } from "@msgpack/msgpack";

const socket = createConnection(process.env.VCD_SOCKET ?? `${process.env.XDG_RUNTIME_DIR}/vcd/app.sock`);
const waiting = new Map();
let last = 0;
const call = (method, params = {}) =>
  new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    socket.write(encode([0, last, method, [params]]));
  });

call("rpc.hello", { client: { name: "example-js" } });
call("device.list").then(({ devices }) => console.log("devices:", devices.map((each) => each.name).join(", ")));
call("events.subscribe", { from: 0 }).catch((error) => console.log(error.code, error.message));

for await (const [kind, ...rest] of decodeMultiStream(socket)) {
  if (kind === 1) {
    const [id, error, result] = rest;
    error ? waiting.get(id).reject(error) : waiting.get(id).resolve(result);
    waiting.delete(id);
  } else if (rest[0] === "event") console.log("event:", rest[1][0].seq, rest[1][0].type);
}
