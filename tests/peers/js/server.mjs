// The gRPC side: the interop interface from ../proto, its calls served one at a time.

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NotFoundError, SUITES } from "./groups.mjs";
import { memberCalls } from "./member.mjs";
import { outsideCalls } from "./outside.mjs";
import { subgroupCalls } from "./subgroup.mjs";

const PROTO = fileURLToPath(new URL("../proto/mls_client.proto", import.meta.url));
const LOADING = { keepCase: true, longs: Number, defaults: true, arrays: true };
const UNLIMITED = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

const { version } = JSON.parse(
  readFileSync(new URL("./node_modules/ts-mls/package.json", import.meta.url), "utf8"),
);

const calls = {
  Name: async () => ({ name: `ts-mls ${version}` }),
  SupportedCiphersuites: async () => ({ ciphersuites: SUITES }),
  ...memberCalls,
  ...subgroupCalls,
  ...outsideCalls,
};

// States are changed by calls, and a call may wait in the middle: the next one begins when it has ended.
let previous = Promise.resolve();

function inTurn(call) {
  const mine = previous.then(call);
  previous = mine.catch(() => undefined);
  return mine;
}

function endpoint(call) {
  return async ({ request }, reply) => {
    try {
      const answer = await inTurn(() => call(request));
      reply(null, Object.fromEntries(Object.entries(answer).filter(([, value]) => value !== undefined)));
    } catch (error) {
      console.error(error);
      const code = error instanceof NotFoundError ? grpc.status.NOT_FOUND : grpc.status.INTERNAL;
      reply({ code, details: `${error.constructor.name}: ${error.message}` });
    }
  };
}

/** Serve on 127.0.0.1; port 0 takes a free one. */
export async function serve(wanted) {
  const { service } = grpc.loadPackageDefinition(loadSync(PROTO, LOADING)).mls_client.MLSClient;
  const missing = Object.keys(service).filter((name) => !(name in calls));
  if (missing.length > 0) throw new Error(`no code for ${missing.join(", ")}`);
  const server = new grpc.Server(UNLIMITED);
  server.addService(
    service,
    Object.fromEntries(Object.keys(service).map((name) => [name, endpoint(calls[name])])),
  );
  const port = await new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${wanted}`, grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, stop: () => server.forceShutdown() };
}
