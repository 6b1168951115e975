// Messages of four bytes of length and that many bytes on a stream, and the question protocol on top of them
// (transport/streams.py, transport/live/ask.py).

const LARGEST = (1 << 20) + 128;
export const ASK = "/vcd/ask/1";
export const ANSWERED = 0;
export const REFUSED = 1;
export const UNKNOWN = 2;

export async function send(stream, message) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  const data = Buffer.concat([length, message]);
  for (let at = 0; at < data.length; at += 65536) {
    if (!stream.send(data.subarray(at, at + 65536))) await stream.onDrain();
  }
}

export async function receive(stream) {
  let buffer = Buffer.alloc(0);
  let wanted = 4;
  for await (const chunk of stream) {
    buffer = Buffer.concat([buffer, Buffer.from(chunk.subarray())]);
    if (wanted === 4 && buffer.length >= 4) wanted = 4 + buffer.readUInt32BE(0);
    if (wanted > LARGEST) throw new Error(`a message of ${wanted - 4} bytes`);
    if (buffer.length >= wanted) return buffer.subarray(4, wanted);
  }
  throw new Error("the stream ended inside a message");
}

export function encodeQuestion(name, question) {
  return Buffer.concat([Buffer.from([1, name.length]), Buffer.from(name), question]);
}

export function decodeQuestion(message) {
  if (message.length < 2 || message[0] !== 1 || message.length < 2 + message[1]) return null;
  const end = 2 + message[1];
  return { name: message.subarray(2, end).toString(), question: message.subarray(end) };
}
